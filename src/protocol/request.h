// SPDX-License-Identifier: Apache-2.0
// Requests as plain structs. Unknown fields are ignored, as OpenAI-compatible servers do. JSON
// parts that only a chat template reads stay text.
// An error names its field in Error::param: "body.messages.0.role" where the body is misshapen,
// "top_logprobs" where a rule about fields is broken.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "protocol/sampling_params.h"

namespace braid::protocol {

// What all kinds of requests have.
// Header of an interim answer (103): kv_transfer_params of a prompt that is being computed, for whoever asked
// for them early.
inline constexpr const char* kEarlyTransfer = "x-kv-transfer-params";

struct CommonRequest {
  std::string model;
  SamplingParams sampling;        // as asked for; sampling_for() checks and completes it
  std::optional<int> max_tokens;  // unset: what the context leaves
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
  bool echo = false;
  bool return_token_ids = false;
  bool return_tokens_as_token_ids = false;
  bool add_special_tokens = false;
  std::optional<int> truncate_prompt_tokens;  // -1: to the longest possible
  bool truncate_left = true;                  // keeps the last tokens
  int priority = 0;
  std::string cache_salt;
  std::string request_id;
  std::string kv_transfer_params;  // JSON; empty: none
  std::optional<int> rank;  // that must compute it; from a header, not from the body
  std::string unsupported;  // a field that asks for what Braid does not have
};

// The parameters for a prompt after which the context leaves `room` tokens.
Result<SamplingParams> sampling_for(const CommonRequest& request, std::int64_t room);

struct ChatRequest : CommonRequest {
  std::string messages = "[]";
  std::string tools = "null";
  std::string documents = "null";
  std::string template_kwargs = "{}";
  std::string chat_template;
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  bool return_prompt_text = false;
  enum class ToolChoice { kAuto, kNone, kRequired, kNamed };
  ToolChoice tool_choice = ToolChoice::kAuto;
  std::string tool_name;  // kNamed
  bool parallel_tool_calls = true;
  std::optional<int> thinking_budget;  // most tokens of reasoning
  bool include_reasoning = true;
  std::string last_role;  // and content of the last message, for echo
  std::string last_content;
};

struct Prompt {
  std::string text;
  std::vector<std::int32_t> ids;
  bool is_ids = false;
};

// With echo and max_tokens 0 nothing but the prompt is wanted: one token is generated and not shown.
struct CompletionRequest : CommonRequest {
  bool echo_only = false;
  std::vector<Prompt> prompts;
};

// What a request has that does not say otherwise: a server reads it once.
struct RequestDefaults {
  SamplingParams sampling;
  std::optional<int> max_tokens;  // of a chat
};

// The object of a generation_config.json, which is not a request: what does not fit is not used.
RequestDefaults read_defaults(std::string_view json);

// `join_parts`: message contents given as parts become one text, joined by newlines.
Result<ChatRequest> parse_chat(std::string_view body, const RequestDefaults& defaults, bool join_parts);
Result<CompletionRequest> parse_completion(std::string_view body, const RequestDefaults& defaults);
// Token ids and sampling parameters, of which nothing is taken from the server's defaults.
Result<CompletionRequest> parse_generate(std::string_view body);

struct TokenizeRequest {
  std::string model;
  Prompt prompt;
  bool add_special_tokens = true;
  bool return_token_strs = false;
  std::optional<ChatRequest> chat;  // when "messages" is given
};
Result<TokenizeRequest> parse_tokenize(std::string_view body, bool join_parts);

struct DetokenizeRequest {
  std::string model;
  std::vector<std::int32_t> tokens;
};
Result<DetokenizeRequest> parse_detokenize(std::string_view body);

}  // namespace braid::protocol
