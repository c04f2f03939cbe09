// SPDX-License-Identifier: Apache-2.0
// /v1/responses: a chat whose answer is a list of items, streamed as named events.
#include <nlohmann/json.hpp>
#include <optional>

#include "protocol/responses.h"
#include "serve/blocks.h"
#include "serve/generation.h"
#include "serve/logprobs_json.h"
#include "serve/prepared_chat.h"

namespace braid::serve {
namespace {

using Json = nlohmann::ordered_json;
using protocol::FinishReason;
using Kind = Block::Kind;

std::string dumped(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// What of the request the answer needs.
struct Asked {
  Json repeated;
  std::string history;
  bool store = true;
  bool background = false;
  std::int64_t max_output_tokens = 0;
};

class ResponsesFormat final : public Format, private BlockListener {
 public:
  ResponsesFormat(Context& context, Asked asked, std::unique_ptr<parse::OutputParser> parser)
      : context_(context), asked_(std::move(asked)), parser_(std::move(parser)) {}

  std::string id_prefix() const override { return "resp_"; }

  std::string stream_start(const Generation& g) override {
    for (const char* type : {"response.created", "response.in_progress"}) send(type, {{"response", response(g, "in_progress")}});
    return std::exchange(events_, {});
  }

  std::string stream_piece(const Generation& g, const Choice& c, const Piece& piece) override {
    blocks_.take(read_on(*parser_, c, piece.text), this);
    return std::exchange(events_, {});
  }

  std::string stream_tail(const Generation& g) override {
    finish_ = g.choices().front().finish;
    blocks_.finish(this);
    const Json answer = final_response(g);
    send(answer["status"] == "completed" ? "response.completed" : "response.incomplete", {{"response", answer}});
    return std::exchange(events_, {});
  }

  std::string stream_failure(const Generation& g, const Error& error) override {
    Json failed = response(g, "failed");
    failed["error"] = {{"code", "server_error"}, {"message", error.message}};
    send("response.failed", {{"response", std::move(failed)}});
    return std::exchange(events_, {});
  }

  std::string whole(const Generation& g) override {
    const Choice& c = g.choices().front();
    finish_ = c.finish;
    blocks_.take(read_on(*parser_, c, c.text), this);
    blocks_.finish(this);
    return dumped(final_response(g));
  }

  std::string accepted(const Generation& g) override {
    if (!asked_.background) return {};
    context_.responses->put(g.id(), {dumped(response(g, "in_progress")), {}});
    return dumped(response(g, "queued"));
  }

  void ended(const Generation& g, const Error* error) override {
    Json body = response(g, error ? "failed" : "cancelled");
    if (error) body["error"] = {{"code", "server_error"}, {"message", error->message}};
    context_.responses->put(g.id(), {dumped(body), {}});
  }

 private:
  std::string_view stream_object() const override { return "response"; }

  void send(const std::string& type, Json fields) {
    Json event = {{"type", type}, {"sequence_number", sequence_++}};
    event.update(fields);
    events_ += "event: " + type + "\ndata: " + dumped(event) + "\n\n";
  }

  // BlockListener: the events of an item.
  void begin(const Block& block, std::size_t index) override {
    ids_.push_back(context_.new_id(block.kind == Kind::kText ? "msg_" : block.kind == Kind::kReasoning ? "rs_" : "fc_"));
    Json added = item(block, index, "in_progress");
    if (block.kind != Kind::kCall) added["content"] = Json::array();
    send("response.output_item.added", {{"output_index", index}, {"item", std::move(added)}});
    if (block.kind != Kind::kCall) send("response.content_part.added", place(index, {{"part", part(block, "")}}));
  }
  void add(const Block& block, std::size_t index, std::string_view text) override {
    if (block.kind == Kind::kText) send("response.output_text.delta", place(index, {{"delta", text}, {"logprobs", Json::array()}}));
    if (block.kind == Kind::kReasoning) send("response.reasoning_text.delta", place(index, {{"delta", text}}));
    if (block.kind == Kind::kCall) send("response.function_call_arguments.delta", {{"item_id", ids_[index]}, {"output_index", index}, {"delta", text}});
  }
  void end(const Block& block, std::size_t index) override {
    if (block.kind == Kind::kText) send("response.output_text.done", place(index, {{"text", block.text}, {"logprobs", Json::array()}}));
    if (block.kind == Kind::kReasoning) send("response.reasoning_text.done", place(index, {{"text", block.text}}));
    if (block.kind == Kind::kCall) {
      send("response.function_call_arguments.done",
           {{"item_id", ids_[index]}, {"output_index", index}, {"name", block.name}, {"arguments", block.text}});
    } else {
      send("response.content_part.done", place(index, {{"part", part(block, block.text)}}));
    }
    send("response.output_item.done", {{"output_index", index}, {"item", item(block, index, status_of(index))}});
  }

  Json place(std::size_t index, Json fields) const {
    Json all = {{"item_id", ids_[index]}, {"output_index", index}, {"content_index", 0}};
    all.update(fields);
    return all;
  }

  static Json part(const Block& block, const std::string& text) {
    if (block.kind == Kind::kReasoning) return {{"type", "reasoning_text"}, {"text", text}};
    return {{"type", "output_text"}, {"text", text}, {"annotations", Json::array()}, {"logprobs", nullptr}};
  }

  Json item(const Block& block, std::size_t index, const char* status) const {
    switch (block.kind) {
      case Kind::kReasoning:
        return {{"id", ids_[index]}, {"type", "reasoning"}, {"summary", Json::array()}, {"content", Json::array({part(block, block.text)})},
                {"encrypted_content", nullptr}, {"status", status}};
      case Kind::kText:
        return {{"id", ids_[index]}, {"type", "message"}, {"role", "assistant"}, {"status", status},
                {"content", Json::array({part(block, block.text)})}};
      case Kind::kCall:
        return {{"id", ids_[index]}, {"type", "function_call"}, {"call_id", block.call_id}, {"name", block.name},
                {"arguments", block.text}, {"status", status}};
    }
    return nullptr;
  }

  // Only the last item can be cut.
  const char* status_of(std::size_t index) const {
    const bool cut = finish_ != FinishReason::kNone && finish_ != FinishReason::kStop && index + 1 == blocks_.all().size();
    return cut ? "incomplete" : "completed";
  }

  Json response(const Generation& g, const char* status) const {
    Json body = {{"id", g.id()}, {"object", "response"}, {"created_at", g.created()}, {"status", status}, {"model", g.model()},
                 {"output", Json::array()}, {"error", nullptr}, {"incomplete_details", nullptr}};
    body.update(asked_.repeated);
    body["temperature"] = g.request().sampling.temperature;
    body["top_p"] = g.request().sampling.top_p;
    body["presence_penalty"] = g.request().sampling.presence_penalty;
    body["frequency_penalty"] = g.request().sampling.frequency_penalty;
    body["max_output_tokens"] = asked_.max_output_tokens;
    body["store"] = asked_.store;
    body["usage"] = nullptr;
    return body;
  }

  Json final_response(const Generation& g) {
    const bool complete = finish_ == FinishReason::kStop;
    Json body = response(g, complete ? "completed" : "incomplete");
    if (!complete) body["incomplete_details"] = {{"reason", finish_ == FinishReason::kLength ? Json("max_output_tokens") : Json()}};
    for (std::size_t i = 0; i < blocks_.all().size(); ++i) body["output"].push_back(item(blocks_.all()[i], i, status_of(i)));
    add_logprobs(g, body["output"]);
    body["usage"] = usage(g);
    if (asked_.store) context_.responses->put(g.id(), {dumped(body), messages()});
    return body;
  }

  // Tokens are told apart only where the answer is one text.
  void add_logprobs(const Generation& g, Json& output) const {
    if (!g.request().sampling.logprobs || output.size() != 1 || output[0]["type"] != "message") return;
    output[0]["content"][0]["logprobs"] = Json::parse(chat_logprobs(g, g.choices().front().logprobs))["content"];
  }

  Json usage(const Generation& g) const {
    const Usage& usage = g.usage();
    const auto& tokenizer = context_.parts.tokenizer;
    const std::string reasoning = blocks_.text_of(Kind::kReasoning);
    const std::size_t thought = tokenizer && !reasoning.empty() ? tokenizer->encode(reasoning, false).size() : 0;
    return {{"input_tokens", usage.prompt},
            {"input_tokens_details", {{"cached_tokens", usage.cached}, {"cache_write_tokens", 0}}},
            {"output_tokens", usage.completion},
            {"output_tokens_details", {{"reasoning_tokens", thought}, {"tool_output_tokens", 0}}},
            {"total_tokens", usage.prompt + usage.completion}};
  }

  // The conversation with this answer, for those that go on from here.
  std::string messages() const {
    Json all = Json::parse(asked_.history);
    Json mine = {{"role", "assistant"}, {"content", blocks_.text_of(Kind::kText)}};
    if (const std::string reasoning = blocks_.text_of(Kind::kReasoning); !reasoning.empty()) mine["reasoning"] = reasoning;
    for (const Block& block : blocks_.all()) {
      if (block.kind != Kind::kCall) continue;
      mine["tool_calls"].push_back({{"id", block.call_id}, {"type", "function"}, {"function", {{"name", block.name}, {"arguments", block.text}}}});
    }
    all.push_back(std::move(mine));
    return dumped(all);
  }

  Context& context_;
  const Asked asked_;
  const std::unique_ptr<parse::OutputParser> parser_;
  Blocks blocks_;
  std::vector<std::string> ids_;  // of the items
  FinishReason finish_ = FinishReason::kNone;
  std::int64_t sequence_ = 0;
  std::string events_;
};

std::string id_in(const net::Request& request) {
  std::string_view path = request.path();
  path.remove_prefix(std::string_view("/v1/responses/").size());
  return std::string(path.substr(0, path.find('/')));
}

Error no_response(const std::string& id) {
  return {ErrorCode::kNotFound, "there is no response " + id + "; it was not stored, or has been dropped since", "response_id"};
}

// Ends the generation of a response in the background, if there is one. On the I/O thread.
bool end_background(Context& context, const std::string& id) {
  const auto found = context.background.find(id);
  const auto generation = found == context.background.end() ? nullptr : found->second.lock();
  if (generation) generation->cancel();
  return generation != nullptr;
}

}  // namespace

void handle_responses(Context& context, net::Request&& request, Writer writer) {
  const auto find = [&](const std::string& id) {
    const auto stored = context.responses->find(id);
    return stored && !stored->messages.empty() ? std::optional(stored->messages) : std::nullopt;
  };
  auto parsed = protocol::parse_responses(request.body, context.parts.defaults, context.join_parts, find);
  if (!parsed.ok()) return send_error(writer, parsed.error());
  if (parsed->background && parsed->stream) {
    return send_error(writer, invalid_argument("a response in the background is not streamed; leave out stream, and ask for GET /v1/responses/ID until it is complete", "stream"));
  }
  Asked asked{Json::parse(parsed->repeated), std::move(parsed->history), parsed->store, parsed->background, 0};
  auto chat = prepare_chat(context, std::move(*parsed));
  if (!chat.ok()) return send_error(writer, chat.error());
  const auto room = context.parts.engine->max_model_len() - static_cast<std::int64_t>(chat->prompts.front().size());
  asked.max_output_tokens = chat->request.max_tokens.value_or(static_cast<int>(room));
  auto format = std::make_unique<ResponsesFormat>(context, std::move(asked), only_parser(*chat));
  start_generation(context, request, std::move(chat->request), std::move(chat->prompts), std::move(format), std::move(writer));
}

void handle_response(Context& context, net::Request&& request, Writer writer) {
  const std::string id = id_in(request);
  const auto stored = context.responses->find(id);
  if (!stored) return send_error(writer, no_response(id));
  send_json(writer, 200, stored->body);
}

void handle_response_delete(Context& context, net::Request&& request, Writer writer) {
  context.http->post([&context, id = id_in(request), writer] {
    end_background(context, id);
    if (!context.responses->remove(id)) return send_error(writer, no_response(id));
    send_json(writer, 200, dumped({{"id", id}, {"object", "response.deleted"}, {"deleted", true}}));
  });
}

// One that was cancelled before is answered as it is.
void handle_response_cancel(Context& context, net::Request&& request, Writer writer) {
  context.http->post([&context, id = id_in(request), writer] {
    const bool ended = end_background(context, id);
    const auto stored = context.responses->find(id);
    if (!stored) return send_error(writer, no_response(id));
    if (ended || Json::parse(stored->body)["status"] == "cancelled") return send_json(writer, 200, stored->body);
    send_error(writer, invalid_argument("response " + id + " is complete; there is nothing to cancel", "response_id"));
  });
}

}  // namespace braid::serve
