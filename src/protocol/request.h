// SPDX-License-Identifier: Apache-2.0
// OpenAI requests as plain structs. Unknown fields are ignored, as OpenAI-compatible servers do;
// an error names the field in Error::param. JSON parts that only a chat template reads stay text.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "protocol/sampling_params.h"

namespace braid::protocol {

// What both kinds of requests have.
struct CommonRequest {
  std::string model;
  SamplingParams sampling;
  std::optional<int> max_tokens;  // unset: what the context leaves (chat) or 16 (completions)
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
  bool echo = false;
  bool return_token_ids = false;
  bool return_tokens_as_token_ids = false;
  bool add_special_tokens = false;
  int priority = 0;
  std::string cache_salt;
  std::string request_id;
};

struct ChatRequest : CommonRequest {
  std::string messages = "[]";
  std::string tools = "null";
  std::string documents = "null";
  std::string template_kwargs = "{}";
  std::string chat_template;
  bool add_generation_prompt = true;
  bool continue_final_message = false;
};

struct Prompt {
  std::string text;
  std::vector<std::int32_t> ids;
  bool is_ids = false;
};

struct CompletionRequest : CommonRequest {
  std::vector<Prompt> prompts;
};

// `defaults`: a JSON object of sampling fields (generation_config.json) that requests override.
// `join_parts`: message contents given as parts become one text, joined by newlines.
Result<ChatRequest> parse_chat(std::string_view body, const std::string& defaults, bool join_parts);
Result<CompletionRequest> parse_completion(std::string_view body, const std::string& defaults);

struct TokenizeRequest {
  Prompt prompt;
  bool add_special_tokens = true;
  bool return_token_strs = false;
  std::optional<ChatRequest> chat;  // when "messages" is given
};
Result<TokenizeRequest> parse_tokenize(std::string_view body);
Result<std::vector<std::int32_t>> parse_detokenize(std::string_view body);

// {"error": {...}} and its HTTP status.
int status_of(ErrorCode code);
std::string error_body(const Error& error, int status);

}  // namespace braid::protocol
