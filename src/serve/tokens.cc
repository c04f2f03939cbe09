// SPDX-License-Identifier: Apache-2.0
// /tokenize, /detokenize and /v1/models.
#include "protocol/json_text.h"
#include "serve/context.h"
#include "serve/logprobs_json.h"

namespace braid::serve {
namespace {

using protocol::append_json_string;
using protocol::json_string;

// With the prompt's text in place of the conversation.
Result<protocol::TokenizeRequest> read(const Context& context, std::string_view body) {
  ASSIGN_OR_RETURN(auto request, protocol::parse_tokenize(body, context.join_parts));
  RETURN_IF_ERROR(context.check_model(request.model));
  if (request.chat) {
    ASSIGN_OR_RETURN(request.prompt.text, render_chat(context, *request.chat));
  }
  return request;
}

std::string token_texts(const text::Tokenizer& tokenizer, std::span<const std::int32_t> tokens) {
  std::string texts = "[";
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i) texts += ',';
    append_json_string(texts, tokenizer.token(tokens[i]));
  }
  return texts + "]";
}

}  // namespace

void handle_tokenize(Context& context, net::Request&& request, Writer writer) {
  const auto parsed = read(context, request.body);
  if (!parsed.ok()) return send_error(writer, parsed.error());
  protocol::CommonRequest whole;  // nothing is truncated
  whole.add_special_tokens = parsed->add_special_tokens;
  const auto tokens = tokens_of(context, parsed->prompt, whole);
  if (!tokens.ok()) return send_error(writer, tokens.error());
  send_json(writer, 200, "{\"count\":" + std::to_string(tokens->size()) + ",\"max_model_len\":" +
                             std::to_string(context.parts.engine->max_model_len()) + ",\"tokens\":" + id_list(*tokens) +
                             ",\"token_strs\":" + (parsed->return_token_strs ? token_texts(*context.parts.tokenizer, *tokens) : "null") + "}");
}

void handle_detokenize(Context& context, net::Request&& request, Writer writer) {
  const auto parsed = protocol::parse_detokenize(request.body);
  if (!parsed.ok()) return send_error(writer, parsed.error());
  if (const Status status = context.check_model(parsed->model); !status.ok()) return send_error(writer, status.error());
  if (!context.parts.tokenizer) return send_error(writer, invalid_argument("this server has no tokenizer"));
  send_json(writer, 200, "{\"prompt\":" + json_string(context.parts.tokenizer->decode(parsed->tokens, false)) + "}");
}

void handle_models(Context& context, net::Request&&, Writer writer) {
  const std::string created = std::to_string(context.started);
  std::string body = "{\"object\":\"list\",\"data\":[";
  for (const auto& name : context.model_names) {
    body += (&name == &context.model_names.front() ? "{\"id\":" : ",{\"id\":") + json_string(name) +
            ",\"object\":\"model\",\"created\":" + created + ",\"owned_by\":\"braid\",\"root\":" + json_string(context.parts.model_path) +
            ",\"parent\":null,\"max_model_len\":" + std::to_string(context.parts.engine->max_model_len()) +
            ",\"permission\":[{\"id\":" + json_string("modelperm-" + name) + ",\"object\":\"model_permission\",\"created\":" + created +
            ",\"allow_create_engine\":false,\"allow_sampling\":true,\"allow_logprobs\":true,\"allow_search_indices\":false,"
            "\"allow_view\":true,\"allow_fine_tuning\":false,\"organization\":\"*\",\"group\":null,\"is_blocking\":false}]}";
  }
  send_json(writer, 200, body + "]}");
}

}  // namespace braid::serve
