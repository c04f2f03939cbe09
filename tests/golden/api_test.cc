// SPDX-License-Identifier: Apache-2.0
// Request bodies and what the peer makes of them: the sampling parameters, or status, type, param
// and code of the refusal.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "protocol/error_json.h"
#include "protocol/request.h"
#include "protocol/responses.h"

namespace braid::protocol {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kRoom = 100;  // the prompt has 10 tokens and the context 110

Json cases() {
  std::ifstream file(std::string(BRAID_BINARY_DIR) + "/golden/api/requests.json");
  return Json::parse(file).at("cases");
}

struct Outcome {
  std::optional<SamplingParams> sampling;
  bool stream = false;
  Json error;
};

template <class Request>
Outcome outcome_of(Result<Request> parsed) {
  const auto refused = [](const Error& error) {
    return Outcome{{}, false, Json::parse(error_body(error, status_of(error.code)))["error"]};
  };
  if (!parsed.ok()) return refused(parsed.error());
  // The peer cuts what does not fit into the context; Braid's engine refuses it.
  parsed->max_tokens = std::min(parsed->max_tokens.value_or(kRoom), kRoom);
  auto sampling = sampling_for(*parsed, kRoom);
  if (!sampling.ok()) return refused(sampling.error());
  return {*sampling, parsed->stream, {}};
}

Outcome outcome_of(const Json& golden) {
  const std::string body = golden["body"].dump();
  if (golden["path"] == "/v1/responses") return outcome_of(parse_responses(body, {}, true, [](const std::string&) { return "[]"; }));
  return golden["path"] == "/v1/chat/completions" ? outcome_of(parse_chat(body, {}, true)) : outcome_of(parse_completion(body, {}));
}

template <class T>
void add(Json& to, const char* name, const T& values) {
  if (!values.empty()) to[name] = values;
}

Json as_json(const SamplingParams& s, bool stream) {
  Json json = {{"n", s.n}, {"ignore_eos", s.ignore_eos}, {"max_tokens", s.max_tokens}, {"min_tokens", s.min_tokens},
               {"top_k", s.top_k}, {"skip_special_tokens", s.skip_special_tokens},
               {"include_stop_str_in_output", s.include_stop_str_in_output},
               {"output_kind", stream ? "DELTA" : "FINAL_ONLY"}};
  for (const auto& [name, value] : {std::pair{"presence_penalty", s.presence_penalty}, {"frequency_penalty", s.frequency_penalty},
                                    {"repetition_penalty", s.repetition_penalty}, {"temperature", s.temperature},
                                    {"top_p", s.top_p}, {"min_p", s.min_p}}) {
    json[name] = value;
  }
  if (s.seed) json["seed"] = *s.seed;
  if (s.logprobs) json["logprobs"] = *s.logprobs;
  if (s.prompt_logprobs) json["prompt_logprobs"] = *s.prompt_logprobs;
  add(json, "stop", s.stop);
  add(json, "stop_token_ids", s.stop_token_ids);
  add(json, "bad_words", s.bad_words);
  add(json, "allowed_token_ids", s.allowed_token_ids);
  for (const auto& [token, bias] : s.logit_bias) json["logit_bias"][std::to_string(token)] = bias;
  if (s.structured.kind != StructuredOutput::Kind::kNone) json["structured_outputs"] = true;
  return json;
}

// Numbers as floats, names sorted.
nlohmann::json comparable(const Json& json) {
  nlohmann::json out;
  for (const auto& [name, value] : json.items()) {
    if (value.is_number_float()) out[name] = value.get<float>();
    else if (value.is_object()) out[name] = comparable(value);
    else out[name] = value;
  }
  return out;
}

Json expected_error(const Json& golden) {
  if (golden.contains("response")) return golden["response"]["error"];
  return {{"type", "BadRequestError"}, {"param", golden.value("param", Json())}, {"code", 400}};
}

void check(const Json& golden) {
  SCOPED_TRACE(golden["name"].get<std::string>() + ": " + golden["body"].dump());
  const Outcome outcome = outcome_of(golden);
  if (golden["accepted"] == true) {
    ASSERT_TRUE(outcome.sampling) << outcome.error;
    EXPECT_EQ(comparable(as_json(*outcome.sampling, outcome.stream)), comparable(golden["sampling"]));
    return;
  }
  ASSERT_FALSE(outcome.sampling) << "accepted";
  for (const char* part : {"type", "param", "code"}) EXPECT_EQ(outcome.error[part], expected_error(golden)[part]) << outcome.error;
}

TEST(Api, RequestsAreTakenAndRefusedAsByThePeer) {
  int checked = 0;
  for (const auto& golden : cases()) {
    check(golden);
    ++checked;
  }
  EXPECT_GT(checked, 100);
}

}  // namespace
}  // namespace braid::protocol
