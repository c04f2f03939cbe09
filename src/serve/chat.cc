// SPDX-License-Identifier: Apache-2.0
// POST /v1/chat/completions and its render.
#include <optional>

#include "protocol/json_text.h"
#include "serve/generation.h"
#include "serve/logprobs_json.h"
#include "serve/render_json.h"

namespace braid::serve {
namespace {

using protocol::append_json_string;
using protocol::json_string;

struct ChatAnswer {
  std::string role;         // of the new message
  std::string echo;         // what it begins with
  std::string prompt_text;  // JSON, null if not asked for
};

class ChatFormat final : public Format {
 public:
  explicit ChatFormat(ChatAnswer answer) : answer_(std::move(answer)) {}

  std::string id_prefix() const override { return "chatcmpl-"; }

  std::string stream_start(const Generation& g) override {
    std::string events;
    for (const auto& c : g.choices()) {
      events += delta(g, c, "\"role\":" + json_string(answer_.role) + ",\"content\":\"\"");
      if (g.request().return_token_ids) events += ",\"prompt_token_ids\":" + id_list(g.prompts().front());
      if (answer_.prompt_text != "null") events += ",\"prompt_text\":" + answer_.prompt_text;
      events += stream_end(g, c);
      if (!answer_.echo.empty()) events += delta(g, c, "\"content\":" + json_string(answer_.echo)) + stream_end(g, c);
    }
    return events;
  }

  std::string stream_piece(const Generation& g, const Choice& c, const Piece& piece) override {
    std::string event = choice_start(g, c) + ",\"delta\":{\"content\":";
    append_json_string(event, piece.text);
    event += "},\"logprobs\":";
    event += g.request().sampling.logprobs ? chat_logprobs(g, piece.logprobs) : "null";
    event += ",\"finish_reason\":" + finish_json(c);
    if (c.done()) event += ",\"stop_reason\":" + stop_reason_json(c);
    if (g.request().return_token_ids) event += ",\"token_ids\":" + id_list(piece.tokens);
    return event + "}]" + stream_end(g, c);
  }

  std::string whole(const Generation& g) override {
    std::string body = opening(g, "chat.completion") + "[";
    for (const auto& c : g.choices()) body += (c.index ? "," : "") + choice_json(g, c);
    body += "],\"service_tier\":null,\"system_fingerprint\":null,\"usage\":" + g.usage_json() +
            ",\"prompt_logprobs\":" + prompt_logprobs(g, g.choices().front()) +
            ",\"prompt_token_ids\":" + (g.request().return_token_ids ? id_list(g.prompts().front()) : "null");
    return body + ",\"prompt_text\":" + answer_.prompt_text + ",\"kv_transfer_params\":null,\"ec_transfer_params\":null,\"metrics\":null}";
  }

 private:
  std::string_view stream_object() const override { return "chat.completion.chunk"; }

  std::string choice_start(const Generation& g, const Choice& c) {
    return "data: " + stream_opening(g) + "[{\"index\":" + std::to_string(c.index);
  }
  std::string delta(const Generation& g, const Choice& c, const std::string& fields) {
    return choice_start(g, c) + ",\"delta\":{" + fields + "},\"logprobs\":null,\"finish_reason\":null}]";
  }

  std::string choice_json(const Generation& g, const Choice& c) const {
    return "{\"index\":" + std::to_string(c.index) + ",\"message\":{\"role\":" + json_string(answer_.role) +
           ",\"content\":" + json_string(answer_.echo + c.text) +
           ",\"refusal\":null,\"annotations\":null,\"audio\":null,\"function_call\":null,\"reasoning\":null},\"logprobs\":" +
           (g.request().sampling.logprobs ? chat_logprobs(g, c.logprobs) : "null") +
           ",\"finish_reason\":" + finish_json(c) + ",\"stop_reason\":" + stop_reason_json(c) +
           ",\"token_ids\":" + (g.request().return_token_ids ? id_list(c.tokens) : "null") +
           ",\"routed_experts\":null,\"weight_versions\":null}";
  }

  ChatAnswer answer_;
};

struct Rendered {
  protocol::ChatRequest request;
  std::string text;
  std::vector<std::vector<std::int32_t>> prompts;  // one
};

Result<Rendered> render(const Context& context, const net::Request& request) {
  Rendered r;
  ASSIGN_OR_RETURN(r.request, protocol::parse_chat(request.body, context.parts.defaults, context.join_parts));
  RETURN_IF_ERROR(context.check(r.request));
  ASSIGN_OR_RETURN(r.text, render_chat(context, r.request));
  ASSIGN_OR_RETURN(auto tokens, tokens_of(context, {r.text, {}, false}, r.request));
  r.prompts.push_back(std::move(tokens));
  return r;
}

ChatAnswer answer_to(const Context& context, const Rendered& r) {
  ChatAnswer answer;
  answer.role = r.request.add_generation_prompt ? context.settings.response_role : r.request.last_role;
  if (r.request.echo && r.request.last_role == answer.role) answer.echo = r.request.last_content;
  answer.prompt_text = r.request.return_prompt_text ? json_string(r.text) : "null";
  return answer;
}

}  // namespace

void handle_chat(Context& context, net::Request&& request, Writer writer) {
  auto rendered = render(context, request);
  if (!rendered.ok()) return send_error(writer, rendered.error());
  auto format = std::make_unique<ChatFormat>(answer_to(context, *rendered));
  start_generation(context, request, std::move(rendered->request), std::move(rendered->prompts), std::move(format), std::move(writer));
}

void handle_chat_render(Context& context, net::Request&& request, Writer writer) {
  const auto rendered = render(context, request);
  if (!rendered.ok()) return send_error(writer, rendered.error());
  const auto body = rendered_json(context, rendered->request, rendered->prompts.front(), "chatcmpl-");
  if (!body.ok()) return send_error(writer, body.error());
  send_json(writer, 200, *body);
}

}  // namespace braid::serve
