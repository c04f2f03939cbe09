// SPDX-License-Identifier: Apache-2.0
// /v1/messages: Anthropic's API over the same chats.
#include <nlohmann/json.hpp>

#include "protocol/anthropic.h"
#include "serve/blocks.h"
#include "serve/generation.h"
#include "serve/prepared_chat.h"

namespace braid::serve {
namespace {

using Json = nlohmann::ordered_json;
using protocol::FinishReason;
using Kind = Block::Kind;

std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

class MessagesFormat final : public Format, private BlockListener {
 public:
  explicit MessagesFormat(std::unique_ptr<parse::OutputParser> parser) : parser_(std::move(parser)) {}

  std::string id_prefix() const override { return "msg_"; }

  std::string stream_start(const Generation& g) override {
    Json message = opening_message(g);
    message["usage"] = {{"input_tokens", prompt_tokens(g)}, {"cache_creation_input_tokens", 0}, {"cache_read_input_tokens", 0}, {"output_tokens", 0}};
    send("message_start", {{"message", std::move(message)}});
    send("ping", Json::object());
    return std::exchange(events_, {});
  }

  std::string stream_piece(const Generation&, const Choice& c, const Piece& piece) override {
    blocks_.take(read_on(*parser_, c, piece.text), this);
    return std::exchange(events_, {});
  }

  std::string stream_tail(const Generation& g) override {
    blocks_.finish(this);
    send("message_delta", {{"delta", stop_of(g.choices().front())}, {"usage", {{"output_tokens", g.usage().completion}}}});
    send("message_stop", Json::object());
    return std::exchange(events_, {});
  }

  std::string stream_failure(const Generation&, const Error& error) override {
    return "event: error\ndata: " + protocol::anthropic_error_body(error, protocol::status_of(error.code)) + "\n\n";
  }

  std::string whole(const Generation& g) override {
    const Choice& c = g.choices().front();
    blocks_.take(read_on(*parser_, c, c.text), nullptr);
    Json message = opening_message(g);
    for (const Block& block : blocks_.all()) message["content"].push_back(content(block));
    message.update(stop_of(c));
    message["usage"] = {{"input_tokens", g.usage().prompt}, {"cache_creation_input_tokens", 0}, {"cache_read_input_tokens", 0},
                        {"output_tokens", g.usage().completion}};
    return dumped(message);
  }

 private:
  std::string_view stream_object() const override { return "message"; }

  static std::int64_t prompt_tokens(const Generation& g) { return static_cast<std::int64_t>(g.prompts().front().size()); }

  void send(const std::string& type, const Json& fields) {
    Json event = {{"type", type}};
    event.update(fields);
    events_ += "event: " + type + "\ndata: " + dumped(event) + "\n\n";
  }

  static Json opening_message(const Generation& g) {
    return {{"id", g.id()}, {"type", "message"}, {"role", "assistant"}, {"model", g.model()}, {"content", Json::array()},
            {"stop_reason", nullptr}, {"stop_sequence", nullptr}};
  }

  Json stop_of(const Choice& c) const {
    const auto& sequence = c.stops->found();
    const char* reason = c.finish == FinishReason::kLength ? "max_tokens" : sequence ? "stop_sequence" : blocks_.has_calls() ? "tool_use" : "end_turn";
    return {{"stop_reason", reason}, {"stop_sequence", sequence ? Json(*sequence) : Json()}};
  }

  static Json content(const Block& block) {
    switch (block.kind) {
      case Kind::kReasoning: return {{"type", "thinking"}, {"thinking", block.text}, {"signature", ""}};
      case Kind::kText: return {{"type", "text"}, {"text", block.text}};
      case Kind::kCall: break;
    }
    const Json input = Json::parse(block.text.empty() ? "{}" : block.text, nullptr, false);
    return {{"type", "tool_use"}, {"id", block.call_id}, {"name", block.name}, {"input", input.is_object() ? input : Json::object()}};
  }

  // BlockListener: the events of a block.
  void begin(const Block& block, std::size_t index) override { send("content_block_start", {{"index", index}, {"content_block", content(block)}}); }
  void add(const Block& block, std::size_t index, std::string_view text) override {
    Json delta = {{"type", "text_delta"}, {"text", text}};
    if (block.kind == Kind::kReasoning) delta = {{"type", "thinking_delta"}, {"thinking", text}};
    if (block.kind == Kind::kCall) delta = {{"type", "input_json_delta"}, {"partial_json", text}};
    send("content_block_delta", {{"index", index}, {"delta", std::move(delta)}});
  }
  void end(const Block& block, std::size_t index) override {
    if (block.kind == Kind::kReasoning) {
      send("content_block_delta", {{"index", index}, {"delta", {{"type", "signature_delta"}, {"signature", ""}}}});
    }
    send("content_block_stop", {{"index", index}});
  }

  const std::unique_ptr<parse::OutputParser> parser_;
  Blocks blocks_;
  std::string events_;
};

}  // namespace

void handle_messages(Context& context, net::Request&& request, Writer writer) {
  auto parsed = protocol::parse_messages(request.body, context.parts.defaults, context.join_parts, protocol::MessagesPurpose::kAnswer);
  if (!parsed.ok()) return send_error(writer, parsed.error());
  auto chat = prepare_chat(context, std::move(*parsed));
  if (!chat.ok()) return send_error(writer, chat.error());
  auto format = std::make_unique<MessagesFormat>(only_parser(*chat));
  start_generation(context, request, std::move(chat->request), std::move(chat->prompts), std::move(format), std::move(writer));
}

void handle_count_tokens(Context& context, net::Request&& request, Writer writer) {
  auto parsed = protocol::parse_messages(request.body, context.parts.defaults, context.join_parts, protocol::MessagesPurpose::kCount);
  if (!parsed.ok()) return send_error(writer, parsed.error());
  const auto chat = prepare_chat(context, std::move(*parsed));
  if (!chat.ok()) return send_error(writer, chat.error());
  send_json(writer, 200, "{\"input_tokens\":" + std::to_string(chat->prompts.front().size()) + "}");
}

}  // namespace braid::serve
