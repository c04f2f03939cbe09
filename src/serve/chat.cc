// SPDX-License-Identifier: Apache-2.0
// POST /v1/chat/completions and its render.
#include <optional>

#include "protocol/json_text.h"
#include "serve/generation.h"
#include "serve/logprobs_json.h"

namespace braid::serve {
namespace {

using protocol::append_json_string;
using protocol::json_string;

class ChatFormat final : public Format {
 public:
  std::string id_prefix() const override { return "chatcmpl-"; }

  std::string stream_start(const Generation& g) override {
    std::string events;
    for (const auto& c : g.choices()) {
      events += "data: " + stream_opening(g) + "[{\"index\":" + std::to_string(c.index) + ",\"delta\":{\"role\":" +
                json_string(g.context().settings.response_role) + ",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]" +
                (g.request().return_token_ids ? ",\"prompt_token_ids\":" + id_list(g.prompts().front()) : "") + "}\n\n";
    }
    return events;
  }

  std::string stream_piece(const Generation& g, const Choice& c, const Piece& piece) override {
    std::string event = "data: " + stream_opening(g) + "[{\"index\":" + std::to_string(c.index) + ",\"delta\":{\"content\":";
    append_json_string(event, piece.text);
    event += "},\"logprobs\":";
    event += g.request().sampling.logprobs ? chat_logprobs(g, piece.logprobs) : "null";
    event += ",\"finish_reason\":" + finish_json(c);
    if (c.done()) event += ",\"stop_reason\":" + stop_reason_json(c);
    if (g.request().return_token_ids) event += ",\"token_ids\":" + id_list(piece.tokens);
    event += "}]";
    if (g.request().continuous_usage) event += ",\"usage\":" + g.usage_json();
    return event + "}\n\n";
  }

  std::string whole(const Generation& g) override {
    std::string body = opening(g, "chat.completion") + "[";
    for (const auto& c : g.choices()) {
      body += (c.index ? "," : "") + std::string("{\"index\":") + std::to_string(c.index) + ",\"message\":{\"role\":" +
              json_string(g.context().settings.response_role) + ",\"content\":" + json_string(c.text) +
              ",\"refusal\":null,\"tool_calls\":[],\"reasoning\":null},\"logprobs\":" +
              (g.request().sampling.logprobs ? chat_logprobs(g, c.logprobs) : "null") +
              ",\"finish_reason\":" + finish_json(c) + ",\"stop_reason\":" + stop_reason_json(c) + ",\"token_ids\":" +
              (g.request().return_token_ids ? id_list(c.tokens) : "null") + "}";
    }
    body += "],\"usage\":" + g.usage_json() + ",\"prompt_logprobs\":" + prompt_logprobs(g, g.choices().front().prompt_logprobs) +
            ",\"prompt_token_ids\":" + (g.request().return_token_ids ? id_list(g.prompts().front()) : "null");
    return body + ",\"system_fingerprint\":null,\"kv_transfer_params\":null}";
  }

 private:
  std::string_view stream_object() const override { return "chat.completion.chunk"; }
};

// The conversation's tokens, or the error.
Result<std::vector<std::int32_t>> chat_tokens(const Context& context, const protocol::ChatRequest& request) {
  ASSIGN_OR_RETURN(const std::string text, render_chat(context, request));
  return tokens_of(context, {text, {}, false}, request.add_special_tokens);
}

Result<protocol::ChatRequest> read(const Context& context, const net::Request& request) {
  ASSIGN_OR_RETURN(auto chat, protocol::parse_chat(request.body, context.parts.generation_defaults, context.join_parts));
  RETURN_IF_ERROR(context.check_model(chat.model));
  return chat;
}

}  // namespace

void handle_chat(Context& context, net::Request&& request, Writer writer) {
  auto chat = read(context, request);
  if (!chat.ok()) return send_error(writer, chat.error());
  auto tokens = chat_tokens(context, *chat);
  if (!tokens.ok()) return send_error(writer, tokens.error());
  std::vector<std::vector<std::int32_t>> prompts{std::move(*tokens)};
  std::make_shared<Generation>(context, std::move(*chat), std::move(prompts), std::make_unique<ChatFormat>(), std::move(writer))->start();
}

void handle_chat_render(Context& context, net::Request&& request, Writer writer) {
  auto chat = read(context, request);
  if (!chat.ok()) return send_error(writer, chat.error());
  const auto text = render_chat(context, *chat);
  if (!text.ok()) return send_error(writer, text.error());
  const auto tokens = tokens_of(context, {*text, {}, false}, chat->add_special_tokens);
  if (!tokens.ok()) return send_error(writer, tokens.error());
  send_json(writer, 200, "{\"prompt\":" + json_string(*text) + ",\"prompt_token_ids\":" + id_list(*tokens) + "}");
}

}  // namespace braid::serve
