// SPDX-License-Identifier: Apache-2.0
#include "serve/render_json.h"

#include <nlohmann/json.hpp>

namespace braid::serve {
namespace {

using Json = nlohmann::ordered_json;
using protocol::SamplingParams;
using protocol::StructuredOutput;

Json structured_json(const StructuredOutput& s) {
  switch (s.kind) {
    case StructuredOutput::Kind::kNone: return nullptr;
    case StructuredOutput::Kind::kJsonSchema: return {{"json", s.text}};
    case StructuredOutput::Kind::kJsonObject: return {{"json_object", true}};
    case StructuredOutput::Kind::kRegex: return {{"regex", s.text}};
    case StructuredOutput::Kind::kChoice: return {{"choice", s.choices}};
    case StructuredOutput::Kind::kGrammar: return {{"grammar", s.text}};
    case StructuredOutput::Kind::kStructuralTag: return {{"structural_tag", s.text}};
  }
  return nullptr;
}

Json optional_json(const auto& value) { return value ? Json(*value) : Json(); }

Json sampling_json(const SamplingParams& s) {
  Json json = {{"n", s.n},
               {"max_tokens", s.max_tokens},
               {"min_tokens", s.min_tokens},
               {"temperature", s.temperature},
               {"top_p", s.top_p},
               {"top_k", s.top_k},
               {"min_p", s.min_p},
               {"presence_penalty", s.presence_penalty},
               {"frequency_penalty", s.frequency_penalty},
               {"repetition_penalty", s.repetition_penalty},
               {"seed", optional_json(s.seed)},
               {"stop", s.stop},
               {"stop_token_ids", s.stop_token_ids},
               {"bad_words", s.bad_words},
               {"include_stop_str_in_output", s.include_stop_str_in_output},
               {"ignore_eos", s.ignore_eos},
               {"logprobs", optional_json(s.logprobs)},
               {"prompt_logprobs", optional_json(s.prompt_logprobs)},
               {"skip_special_tokens", s.skip_special_tokens},
               {"spaces_between_special_tokens", s.spaces_between_special_tokens},
               {"structured_outputs", structured_json(s.structured)}};
  if (!s.allowed_token_ids.empty()) json["allowed_token_ids"] = s.allowed_token_ids;
  for (const auto& [token, bias] : s.logit_bias) json["logit_bias"][std::to_string(token)] = bias;
  return json;
}

}  // namespace

Result<std::string> rendered_json(Context& context, const protocol::CommonRequest& request,
                                  std::span<const std::int32_t> tokens, const std::string& id_prefix) {
  const auto room = context.parts.engine->max_model_len() - static_cast<std::int64_t>(tokens.size());
  ASSIGN_OR_RETURN(const auto sampling, protocol::sampling_for(request, room));
  Json body = {{"request_id", request.request_id.empty() ? context.new_id(id_prefix) : id_prefix + request.request_id},
               {"token_ids", tokens},
               {"sampling_params", sampling_json(sampling)},
               {"model", request.model.empty() ? Json() : Json(request.model)},
               {"stream", request.stream},
               {"return_token_ids", request.return_token_ids},
               {"cache_salt", request.cache_salt.empty() ? Json() : Json(request.cache_salt)},
               {"priority", request.priority}};
  if (request.include_usage) body["stream_options"] = {{"include_usage", true}, {"continuous_usage_stats", request.continuous_usage}};
  return body.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace braid::serve
