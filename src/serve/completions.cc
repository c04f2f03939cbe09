// SPDX-License-Identifier: Apache-2.0
// POST /v1/completions and its render.
#include "protocol/json_text.h"
#include "serve/generation.h"
#include "serve/logprobs_json.h"
#include "serve/render_json.h"

namespace braid::serve {
namespace {

using protocol::json_string;

class CompletionFormat final : public Format {
 public:
  CompletionFormat(std::vector<std::string> echoes, bool echo_only) : echoes_(std::move(echoes)), echo_only_(echo_only) {}

  std::string id_prefix() const override { return "cmpl-"; }
  std::string stream_start(const Generation& g) override {
    streams_.resize(g.choices().size());
    return {};
  }

  std::string stream_piece(const Generation& g, const Choice& c, const Piece& piece) override {
    Stream& stream = streams_[static_cast<std::size_t>(c.index)];
    const Part part = part_of(g, c, piece.text, scores(piece.tokens, piece.logprobs), g.request().echo && !stream.begun);
    std::string event = "data: " + stream_opening(g) + "[" + choice_json(g, c, part, stream.offset);
    if (g.request().return_token_ids) {
      event += ",\"token_ids\":" + id_list(piece.tokens);
      if (!stream.begun) event += ",\"prompt_token_ids\":" + prompt_ids(g, c);
    }
    stream.begun = true;
    return event + "}]" + stream_end(g, c);
  }

  std::string whole(const Generation& g) override {
    std::string body = opening(g, stream_object()) + "[";
    for (const auto& c : g.choices()) {
      std::size_t offset = 0;
      const bool ids = g.request().return_token_ids;
      const Part part = part_of(g, c, c.text, scores(c.tokens, c.logprobs), g.request().echo);
      body += (c.index ? "," : "") + choice_json(g, c, part, offset) + ",\"token_ids\":" + (ids ? id_list(c.tokens) : "null") +
              ",\"prompt_logprobs\":" + prompt_logprobs(g, c) + ",\"prompt_token_ids\":" + (ids ? prompt_ids(g, c) : "null") +
              ",\"routed_experts\":null,\"weight_versions\":null}";
    }
    return body + "],\"service_tier\":null,\"system_fingerprint\":null,\"usage\":" + g.usage_json() + ",\"kv_transfer_params\":" + g.kv_transfer_params() + ",\"ec_transfer_params\":null,\"metrics\":null}";
  }

 private:
  struct Stream {
    bool begun = false;
    std::size_t offset = 0;  // characters of the tokens that were told
  };
  struct Part {
    std::string text;
    std::vector<ScoredToken> tokens;
  };

  std::string_view stream_object() const override { return "text_completion"; }

  Part part_of(const Generation& g, const Choice& c, const std::string& text, const std::vector<ScoredToken>& tokens, bool echo) const {
    Part part;
    if (echo) part = {echoes_[static_cast<std::size_t>(c.prompt)], prompt_scores(g, c)};
    if (echo_only_) return part;
    part.text += text;
    part.tokens.insert(part.tokens.end(), tokens.begin(), tokens.end());
    return part;
  }

  // Without its closing brace.
  static std::string choice_json(const Generation& g, const Choice& c, const Part& part, std::size_t& offset) {
    return "{\"index\":" + std::to_string(c.index) + ",\"text\":" + json_string(part.text) + ",\"logprobs\":" +
           (g.request().sampling.logprobs ? completion_logprobs(g, part.tokens, offset) : "null") +
           ",\"finish_reason\":" + finish_json(c) + ",\"stop_reason\":" + stop_reason_json(c);
  }

  static std::string prompt_ids(const Generation& g, const Choice& c) { return id_list(g.prompts()[static_cast<std::size_t>(c.prompt)]); }

  std::vector<std::string> echoes_;  // by prompt
  bool echo_only_;
  std::vector<Stream> streams_;  // by choice
};

struct Parsed {
  protocol::CompletionRequest request;
  std::vector<std::vector<std::int32_t>> prompts;
};

Result<Parsed> read(const Context& context, std::string_view body) {
  Parsed parsed;
  ASSIGN_OR_RETURN(parsed.request, protocol::parse_completion(body, context.parts.defaults));
  RETURN_IF_ERROR(context.check(parsed.request));
  for (const auto& prompt : parsed.request.prompts) {
    ASSIGN_OR_RETURN(auto tokens, tokens_of(context, prompt, parsed.request));
    parsed.prompts.push_back(std::move(tokens));
  }
  return parsed;
}

std::vector<std::string> echo_texts(const Context& context, const Parsed& parsed) {
  std::vector<std::string> echoes;
  if (!parsed.request.echo) return echoes;
  for (std::size_t i = 0; i < parsed.prompts.size(); ++i) {
    const auto& prompt = parsed.request.prompts[i];
    const bool decode = prompt.is_ids && context.parts.tokenizer;
    echoes.push_back(decode ? context.parts.tokenizer->decode(parsed.prompts[i], true) : prompt.text);
  }
  return echoes;
}

}  // namespace

void handle_completion(Context& context, net::Request&& request, Writer writer) {
  auto parsed = read(context, request.body);
  if (!parsed.ok()) return send_error(writer, parsed.error());
  auto format = std::make_unique<CompletionFormat>(echo_texts(context, *parsed), parsed->request.echo_only);
  start_generation(context, request, std::move(parsed->request), std::move(parsed->prompts), std::move(format), std::move(writer));
}

void handle_completion_render(Context& context, net::Request&& request, Writer writer) {
  const auto parsed = read(context, request.body);
  if (!parsed.ok()) return send_error(writer, parsed.error());
  std::string body = "[";
  for (std::size_t i = 0; i < parsed->prompts.size(); ++i) {
    const auto rendered = rendered_json(context, parsed->request, parsed->prompts[i], "cmpl-");
    if (!rendered.ok()) return send_error(writer, rendered.error());
    body += (i ? "," : "") + *rendered;
  }
  send_json(writer, 200, body + "]");
}

}  // namespace braid::serve
