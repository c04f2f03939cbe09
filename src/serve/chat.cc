// SPDX-License-Identifier: Apache-2.0
// POST /v1/chat/completions and its render.
#include "protocol/json_text.h"
#include "serve/generation.h"
#include "serve/logprobs_json.h"
#include "serve/prepared_chat.h"
#include "serve/render_json.h"

namespace braid::serve {
namespace {

using protocol::append_json_string;
using protocol::json_string;

struct ChatAnswer {
  std::string role;         // of the new message
  bool named_tool = false;  // the calls are those that were asked for
  std::string echo;         // what it begins with
  std::string prompt_text;  // JSON, null if not asked for
};

class ChatFormat final : public Format {
 public:
  // `parsers`: one per choice, or none where answers are not parsed.
  ChatFormat(ChatAnswer answer, Parsers parsers)
      : answer_(std::move(answer)), parsers_(std::move(parsers)), has_calls_(parsers_.size()) {}

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
    std::string event = choice_start(g, c) + ",\"delta\":{";
    if (parsers_.empty()) {
      event += "\"content\":";
      append_json_string(event, piece.text);
    } else {
      const parse::Delta news = parsed(c, piece.text);
      if (news.empty() && !c.done() && !g.request().sampling.logprobs && !g.request().return_token_ids) return {};
      event += delta_fields(news);
    }
    event += "},\"logprobs\":";
    event += g.request().sampling.logprobs ? chat_logprobs(g, piece.logprobs) : "null";
    event += ",\"finish_reason\":" + finish(c);
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
    return body + ",\"prompt_text\":" + answer_.prompt_text + ",\"kv_transfer_params\":" + g.kv_transfer_params() + ",\"ec_transfer_params\":null,\"metrics\":null}";
  }

 private:
  std::string_view stream_object() const override { return "chat.completion.chunk"; }

  std::string choice_start(const Generation& g, const Choice& c) {
    return "data: " + stream_opening(g) + "[{\"index\":" + std::to_string(c.index);
  }
  std::string delta(const Generation& g, const Choice& c, const std::string& fields) {
    return choice_start(g, c) + ",\"delta\":{" + fields + "},\"logprobs\":null,\"finish_reason\":null}]";
  }

  parse::Delta parsed(const Choice& c, std::string_view text) {
    parse::Delta delta = read_on(*parsers_[static_cast<std::size_t>(c.index)], c, text);
    if (!delta.calls.empty()) has_calls_[static_cast<std::size_t>(c.index)] = true;
    return delta;
  }

  std::string finish(const Choice& c) const {
    const bool calls = !has_calls_.empty() && has_calls_[static_cast<std::size_t>(c.index)];
    return calls && !answer_.named_tool && c.finish == protocol::FinishReason::kStop ? "\"tool_calls\"" : finish_json(c);
  }

  static std::string call_json(const parse::CallDelta& call, bool whole) {
    std::string json = whole ? "{" : "{\"index\":" + std::to_string(call.index) + ",";
    if (!call.name.empty()) json += "\"id\":" + json_string(call.id) + ",\"type\":\"function\",";
    json += "\"function\":{";
    if (!call.name.empty()) json += "\"name\":" + json_string(call.name) + ",";
    return json + "\"arguments\":" + json_string(call.arguments) + "}}";
  }

  static std::string calls_json(const parse::Delta& delta, bool whole) {
    std::string json = "[";
    for (const auto& call : delta.calls) json += (json.size() > 1 ? "," : "") + call_json(call, whole);
    return json + "]";
  }

  static std::string delta_fields(const parse::Delta& delta) {
    std::string fields;
    const auto add = [&](const char* name, const std::string& value) { fields += (fields.empty() ? "\"" : ",\"") + std::string(name) + "\":" + value; };
    if (!delta.reasoning.empty()) add("reasoning", json_string(delta.reasoning));
    if (!delta.content.empty()) add("content", json_string(delta.content));
    if (!delta.calls.empty()) add("tool_calls", calls_json(delta, false));
    return fields;
  }

  std::string message_fields(const Choice& c) {
    parse::Delta answer;
    if (parsers_.empty()) answer.content = c.text;
    else answer = parsed(c, c.text);
    const bool silent = answer_.echo.empty() && answer.content.empty() && !parsers_.empty();
    return ",\"content\":" + (silent ? "null" : json_string(answer_.echo + answer.content)) +
           ",\"refusal\":null,\"annotations\":null,\"audio\":null,\"function_call\":null,\"reasoning\":" +
           (answer.reasoning.empty() ? "null" : json_string(answer.reasoning)) +
           (answer.calls.empty() ? "" : ",\"tool_calls\":" + calls_json(answer, true));
  }

  std::string choice_json(const Generation& g, const Choice& c) {
    const std::string message = message_fields(c);  // finish() goes by its calls
    return "{\"index\":" + std::to_string(c.index) + ",\"message\":{\"role\":" + json_string(answer_.role) +
           message + "},\"logprobs\":" +
           (g.request().sampling.logprobs ? chat_logprobs(g, c.logprobs) : "null") +
           ",\"finish_reason\":" + finish(c) + ",\"stop_reason\":" + stop_reason_json(c) +
           ",\"token_ids\":" + (g.request().return_token_ids ? id_list(c.tokens) : "null") +
           ",\"routed_experts\":null,\"weight_versions\":null}";
  }

  ChatAnswer answer_;
  Parsers parsers_;
  std::vector<bool> has_calls_;
};

Result<PreparedChat> prepared(Context& context, const net::Request& request) {
  ASSIGN_OR_RETURN(auto chat, protocol::parse_chat(request.body, context.parts.defaults, context.join_parts));
  return prepare_chat(context, std::move(chat));
}

ChatAnswer answer_to(const Context& context, const PreparedChat& r) {
  ChatAnswer answer;
  answer.named_tool = r.request.tool_choice == protocol::ChatRequest::ToolChoice::kNamed;
  answer.role = r.request.add_generation_prompt ? context.settings.response_role : r.request.last_role;
  if (r.request.echo && r.request.last_role == answer.role) answer.echo = r.request.last_content;
  answer.prompt_text = r.request.return_prompt_text ? json_string(r.text) : "null";
  return answer;
}

}  // namespace

void handle_chat(Context& context, net::Request&& request, Writer writer) {
  auto chat = prepared(context, request);
  if (!chat.ok()) return send_error(writer, chat.error());
  auto format = std::make_unique<ChatFormat>(answer_to(context, *chat), std::move(chat->parsers));
  start_generation(context, request, std::move(chat->request), std::move(chat->prompts), std::move(format), std::move(writer));
}

void handle_chat_render(Context& context, net::Request&& request, Writer writer) {
  const auto chat = prepared(context, request);
  if (!chat.ok()) return send_error(writer, chat.error());
  const auto body = rendered_json(context, chat->request, chat->prompts.front(), "chatcmpl-");
  if (!body.ok()) return send_error(writer, body.error());
  send_json(writer, 200, *body);
}

}  // namespace braid::serve
