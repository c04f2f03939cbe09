// SPDX-License-Identifier: Apache-2.0
// Settings of the HTTP face. Names are vLLM's where it has them.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace braid::serve {

struct Settings {
  std::string host = "0.0.0.0";
  int port = 8000;
  std::vector<std::string> api_key;
  std::vector<std::string> served_model_name;
  std::optional<std::string> chat_template;
  std::string chat_template_content_format = "auto";
  std::string response_role = "assistant";
  bool enable_auto_tool_choice = false;
  std::string tool_call_parser = "auto";
  std::string reasoning_parser = "auto";
  bool return_tokens_as_token_ids = false;
  bool enable_force_include_usage = false;
  bool enable_prompt_tokens_details = false;
  bool enable_request_id_headers = false;
  int max_connections = 4096;
  int max_body_mib = 16;
  int max_waiting_prompts = 256;
  int response_store_mib = 64;
  std::vector<std::string> allowed_origins = {"*"};
  std::vector<std::string> allowed_methods = {"*"};
  std::vector<std::string> allowed_headers = {"*"};
  bool allow_credentials = false;
  int h11_max_header_count = 256;
  std::int64_t h11_max_incomplete_event_size = 64 << 10;
  int header_timeout_seconds = 20;
  int body_timeout_seconds = 60;
  int keep_alive_timeout_seconds = 75;
  int write_timeout_seconds = 30;
  int request_timeout_seconds = 0;
  int drain_timeout_seconds = 30;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("host", self.host, {.help = "Address to listen on"});
    v.field("port", self.port, {.help = "Port to listen on; 0: any free one", .min = 0, .max = 65535});
    v.field("api-key", self.api_key,
            {.help = "Keys of which one must come as a bearer token, for all that costs or controls",
             .environment = "VLLM_API_KEY", .secret = true});
    v.field("served-model-name", self.served_model_name, {.help = "Names that requests may use for the model"});
    v.field("chat-template", self.chat_template, {.help = "File with the chat template, or the template itself"});
    v.field("chat-template-content-format", self.chat_template_content_format,
            {.help = "How the template sees message contents", .choices = {"auto", "string", "openai"}});
    v.field("response-role", self.response_role, {.help = "Role of generated messages"});
    v.field("enable-auto-tool-choice", self.enable_auto_tool_choice,
            {.help = "Models choose whether to call tools, in the format of tool-call-parser; implied where that is found by auto"});
    v.field("tool-call-parser", self.tool_call_parser,
            {.help = "Format of the model's tool calls; auto: that of its chat template, if it is known; empty: none"});
    v.field("reasoning-parser", self.reasoning_parser,
            {.help = "Format of the model's reasoning; auto: that of its chat template, if it is known; empty: it is content"});
    v.field("return-tokens-as-token-ids", self.return_tokens_as_token_ids,
            {.help = "Write tokens in logprobs as token_id:N"});
    v.field("enable-force-include-usage", self.enable_force_include_usage, {.help = "Streams always end with usage"});
    v.field("enable-prompt-tokens-details", self.enable_prompt_tokens_details,
            {.help = "Usage tells how many prompt tokens the prefix cache held"});
    v.field("enable-request-id-headers", self.enable_request_id_headers,
            {.help = "Responses carry X-Request-Id"});
    v.field("max-connections", self.max_connections, {.help = "Most open connections", .min = 1});
    v.field("max-body-size", self.max_body_mib, {.help = "Largest request body", .unit = "MiB", .min = 1, .max = 1024});
    v.field("max-waiting-prompts", self.max_waiting_prompts,
            {.help = "Long prompts that may wait to be parsed and tokenised; further ones are refused with status 429",
             .unit = "requests", .min = 1});
    v.field("response-store-size", self.response_store_mib,
            {.help = "Memory for answers of /v1/responses that later requests may go on from; the oldest go first", .unit = "MiB",
             .min = 0, .max = 1 << 20});
    v.field("allowed-origins", self.allowed_origins, {.help = "Origins whose pages may send requests; *: all"});
    v.field("allowed-methods", self.allowed_methods, {.help = "Methods that pages of other origins may use; *: all"});
    v.field("allowed-headers", self.allowed_headers, {.help = "Headers that pages of other origins may send; *: all"});
    v.field("allow-credentials", self.allow_credentials, {.help = "Pages of other origins may send credentials"});
    v.field("h11-max-header-count", self.h11_max_header_count, {.help = "Most headers of a request", .min = 1});
    v.field("h11-max-incomplete-event-size", self.h11_max_incomplete_event_size,
            {.help = "Largest head of a request: its first line and headers", .unit = "bytes", .min = 1024,
             .max = 64 << 20, .human_size = true});
    v.field("header-timeout", self.header_timeout_seconds,
            {.help = "A request's headers have to come within this time", .unit = "seconds", .min = 1});
    v.field("body-timeout", self.body_timeout_seconds,
            {.help = "A request's body has to come within this time", .unit = "seconds", .min = 1});
    v.field("timeout-keep-alive", self.keep_alive_timeout_seconds,
            {.help = "A connection without a request is closed after this time", .unit = "seconds", .min = 1,
             .environment = "VLLM_HTTP_TIMEOUT_KEEP_ALIVE"});
    v.field("write-timeout", self.write_timeout_seconds,
            {.help = "A client that reads nothing of its answer for this time is dropped", .unit = "seconds", .min = 1});
    v.field("request-timeout", self.request_timeout_seconds,
            {.help = "A request is ended after this time; 0: never", .unit = "seconds", .min = 0});
    v.field("drain-timeout", self.drain_timeout_seconds,
            {.help = "How long running requests may go on after SIGTERM", .unit = "seconds", .min = 0});
  }
};

}  // namespace braid::serve
