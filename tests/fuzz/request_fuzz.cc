// SPDX-License-Identifier: Apache-2.0
// Any bytes as the body of every endpoint that reads one: an error that can be sent, or a request
// whose parts are what the layers above rely on.
#include <nlohmann/json.hpp>

#include "require.h"
#include "protocol/anthropic.h"
#include "protocol/error_json.h"
#include "protocol/request.h"
#include "protocol/responses.h"

namespace {

using namespace braid;
using Json = nlohmann::json;

const char* const kDefaults = R"({"temperature": 0.6, "top_p": 0.95, "top_k": 20, "max_new_tokens": 32768})";

template <class T>
bool answered(const Result<T>& parsed) {
  if (parsed.ok()) return true;
  const Error& error = parsed.error();
  require(!error.message.empty(), "an error says something");
  const int status = protocol::status_of(error.code);
  require(status == 400, "a wrong body is the client's fault");
  require(Json::parse(protocol::error_body(error, status), nullptr, false).is_object(), "an error is JSON");
  return false;
}

void check(const protocol::CommonRequest& r) {
  const auto sampling = protocol::sampling_for(r, 100);
  if (!answered(sampling)) return;
  const auto& s = *sampling;
  require(s.temperature >= 0 && s.temperature <= 2, "temperature");
  require(s.top_p > 0 && s.top_p <= 1 && s.min_p >= 0 && s.min_p <= 1 && s.top_k >= -1, "top_p, min_p, top_k");
  require(s.n >= 1 && s.max_tokens >= 1 && s.min_tokens >= 0 && s.repetition_penalty > 0, "n, min_tokens, repetition_penalty");
  require(!s.logprobs || *s.logprobs >= -1, "logprobs");
  for (const auto& stop : s.stop) require(!stop.empty(), "stop");
  for (const auto& [id, bias] : s.logit_bias) require(bias >= -100 && bias <= 100, "logit_bias");
}

void check(const protocol::ChatRequest& r) {
  check(static_cast<const protocol::CommonRequest&>(r));
  require(Json::parse(r.messages, nullptr, false).is_array(), "messages are a list");
  require(Json::parse(r.template_kwargs, nullptr, false).is_object(), "chat_template_kwargs are an object");
  require(Json::accept(r.tools) && Json::accept(r.documents), "tools and documents are JSON");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  static const protocol::RequestDefaults defaults = protocol::read_defaults(kDefaults);
  (void)protocol::read_defaults(body);
  for (const bool join_parts : {false, true}) {
    if (const auto chat = protocol::parse_chat(body, join_parts ? defaults : protocol::RequestDefaults{}, join_parts); answered(chat)) check(*chat);
  }
  const auto history = [](const std::string& id) { return id.empty() ? std::optional<std::string>() : "[]"; };
  const auto responses = protocol::parse_responses(body, defaults, true, history);
  if (responses.ok()) {
    check(*responses);
    require(Json::parse(responses->repeated, nullptr, false).is_object() && Json::parse(responses->history, nullptr, false).is_array(), "what is repeated and kept");
  } else {
    require(!responses.error().message.empty(), "an error says something");
  }
  for (const auto purpose : {protocol::MessagesPurpose::kAnswer, protocol::MessagesPurpose::kCount}) {
    if (const auto messages = protocol::parse_messages(body, defaults, true, purpose); answered(messages)) check(*messages);
  }
  if (const auto completion = protocol::parse_completion(body, defaults); answered(completion)) {
    check(*completion);
    require(!completion->prompts.empty() || !completion->unsupported.empty(), "there is a prompt");
  }
  if (const auto generate = protocol::parse_generate(body); answered(generate)) check(*generate);
  if (const auto tokenize = protocol::parse_tokenize(body, true); answered(tokenize) && tokenize->chat) check(*tokenize->chat);
  if (const auto detokenize = protocol::parse_detokenize(body); answered(detokenize)) {
    for (const auto id : detokenize->tokens) require(id >= 0, "token ids are natural numbers");
  }
  return 0;
}
