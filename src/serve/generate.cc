// SPDX-License-Identifier: Apache-2.0
// POST /inference/v1/generate: tokens in, tokens out.
#include "protocol/json_text.h"
#include "serve/generation.h"
#include "serve/logprobs_json.h"

namespace braid::serve {
namespace {

using protocol::json_string;

class GenerateFormat final : public Format {
 public:
  std::string id_prefix() const override { return {}; }
  std::string stream_start(const Generation&) override { return {}; }

  std::string stream_piece(const Generation& g, const Choice& c, const Piece& piece) override {
    std::string event = "data: " + head(g) + ",\"choices\":[" + choice_json(g, c, piece.tokens, piece.logprobs) + "]";
    if (g.request().return_token_ids && !begun_) event += ",\"prompt_token_ids\":" + id_list(g.prompts().front());
    begun_ = true;
    return event + stream_end(g, c);
  }

  std::string stream_usage(const Generation& g) override {
    return "data: " + head(g) + ",\"choices\":[],\"usage\":" + g.usage_json() + "}\n\n";
  }

  bool needs_every_token(const Generation&) const override { return true; }

  std::string whole(const Generation& g) override {
    std::string body = head(g) + ",\"model\":" + json_string(g.model()) + ",\"created\":" + std::to_string(g.created()) + ",\"choices\":[";
    for (const auto& c : g.choices()) body += (c.index ? "," : "") + choice_json(g, c, c.tokens, c.logprobs);
    return body + "],\"usage\":" + g.usage_json() + ",\"prompt_logprobs\":" + prompt_logprobs(g, g.choices().front()) +
           ",\"prompt_token_ids\":" + (g.request().return_token_ids ? id_list(g.prompts().front()) : "null") +
           ",\"kv_transfer_params\":" + g.kv_transfer_params() + "}";
  }

 private:
  std::string_view stream_object() const override { return {}; }

  static std::string head(const Generation& g) { return "{\"output_mode\":\"tokens\",\"request_id\":" + json_string(g.id()); }

  static std::string choice_json(const Generation& g, const Choice& c, std::span<const std::int32_t> tokens,
                                 std::span<const engine::PositionLogprobs> logprobs) {
    return "{\"index\":" + std::to_string(c.index) + ",\"logprobs\":" +
           (g.request().sampling.logprobs ? generate_logprobs(logprobs) : "null") + ",\"finish_reason\":" + finish_json(c) +
           ",\"stop_reason\":" + stop_reason_json(c) + ",\"token_ids\":" + id_list(tokens) + "}";
  }

  bool begun_ = false;
};

}  // namespace

void handle_generate(Context& context, net::Request&& request, Writer writer) {
  auto parsed = protocol::parse_generate(request.body);
  if (!parsed.ok()) return send_error(writer, parsed.error());
  if (const Status status = context.check_model(parsed->model); !status.ok()) return send_error(writer, status.error());
  std::vector<std::vector<std::int32_t>> prompts{std::move(parsed->prompts.front().ids)};
  start_generation(context, request, std::move(*parsed), std::move(prompts), std::make_unique<GenerateFormat>(), std::move(writer));
}

}  // namespace braid::serve
