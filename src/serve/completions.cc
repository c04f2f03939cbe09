// SPDX-License-Identifier: Apache-2.0
// POST /v1/completions, its render, and /inference/v1/generate (tokens in, tokens out).
#include <nlohmann/json.hpp>

#include "protocol/json_text.h"
#include "serve/generation.h"
#include "serve/logprobs_json.h"

namespace braid::serve {
namespace {

using protocol::json_string;

class CompletionFormat final : public Format {
 public:
  explicit CompletionFormat(std::vector<std::string> echoes) : echoes_(std::move(echoes)) {}

  std::string id_prefix() const override { return "cmpl-"; }

  std::string stream_start(const Generation& g) override {
    std::string events;
    if (!g.request().echo) return events;
    for (const auto& c : g.choices()) {
      events += "data: " + stream_opening(g) + "[{\"index\":" + std::to_string(c.index) + ",\"text\":" +
                json_string(echoes_[static_cast<std::size_t>(c.prompt)]) + ",\"logprobs\":null,\"finish_reason\":null}]}\n\n";
    }
    return events;
  }

  std::string stream_piece(const Generation& g, const Choice& c, const Piece& piece) override {
    const std::size_t offset = c.text.size() - piece.text.size();
    std::string event = "data: " + stream_opening(g) + "[" + choice_json(g, c, piece.text, piece.logprobs, offset, piece.tokens) + "]";
    if (g.request().continuous_usage) event += ",\"usage\":" + g.usage_json();
    return event + "}\n\n";
  }

  std::string whole(const Generation& g) override {
    std::string body = stream_opening(g) + "[";
    for (const auto& c : g.choices()) {
      const std::string text = (g.request().echo ? echoes_[static_cast<std::size_t>(c.prompt)] : "") + c.text;
      body += (c.index ? "," : "") + choice_json(g, c, text, c.logprobs, text.size() - c.text.size(), c.tokens);
    }
    return body + "],\"usage\":" + g.usage_json() + ",\"system_fingerprint\":null,\"kv_transfer_params\":null}";
  }

 private:
  std::string_view stream_object() const override { return "text_completion"; }

  std::string choice_json(const Generation& g, const Choice& c, const std::string& text,
                          std::span<const engine::PositionLogprobs> logprobs, std::size_t offset,
                          std::span<const std::int32_t> tokens) const {
    std::string json = "{\"index\":" + std::to_string(c.index) + ",\"text\":" + json_string(text) + ",\"logprobs\":";
    json += g.request().sampling.logprobs ? completion_logprobs(g, logprobs, offset) : "null";
    json += ",\"finish_reason\":" + finish_json(c) + ",\"stop_reason\":" + stop_reason_json(c);
    if (g.request().return_token_ids) {
      json += ",\"token_ids\":" + id_list(tokens) + ",\"prompt_token_ids\":" + id_list(g.prompts()[static_cast<std::size_t>(c.prompt)]);
    }
    if (!g.request().stream) json += ",\"prompt_logprobs\":" + prompt_logprobs(g, c.prompt_logprobs);
    return json + "}";
  }

  std::vector<std::string> echoes_;
};

struct Parsed {
  protocol::CompletionRequest request;
  std::vector<std::vector<std::int32_t>> prompts;
};

Result<Parsed> read(const Context& context, std::string_view body) {
  Parsed parsed;
  ASSIGN_OR_RETURN(parsed.request, protocol::parse_completion(body, context.parts.generation_defaults));
  RETURN_IF_ERROR(context.check_model(parsed.request.model));
  for (const auto& prompt : parsed.request.prompts) {
    ASSIGN_OR_RETURN(auto tokens, tokens_of(context, prompt, parsed.request.add_special_tokens));
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

void generate(Context& context, Result<Parsed> parsed, Writer writer) {
  if (!parsed.ok()) return send_error(writer, parsed.error());
  auto echoes = echo_texts(context, *parsed);
  std::make_shared<Generation>(context, std::move(parsed->request), std::move(parsed->prompts),
                               std::make_unique<CompletionFormat>(std::move(echoes)), std::move(writer))->start();
}

// {"token_ids": [...], "sampling_params": {...}, ...} as a completions body.
Result<std::string> as_completion(const std::string& body) {
  using Json = nlohmann::ordered_json;
  Json json = Json::parse(body, nullptr, false);
  if (!json.is_object() || !json.contains("token_ids")) return invalid_argument("token_ids: is missing", "token_ids");
  Json out = json.contains("sampling_params") && json["sampling_params"].is_object() ? json["sampling_params"] : Json::object();
  for (const auto& [key, value] : json.items()) {
    if (key != "token_ids" && key != "sampling_params") out[key] = value;
  }
  out["prompt"] = json["token_ids"];
  out["return_token_ids"] = true;
  return out.dump();
}

}  // namespace

void handle_completion(Context& context, net::Request&& request, Writer writer) {
  generate(context, read(context, request.body), std::move(writer));
}

void handle_generate(Context& context, net::Request&& request, Writer writer) {
  const auto body = as_completion(request.body);
  if (!body.ok()) return send_error(writer, body.error());
  generate(context, read(context, *body), std::move(writer));
}

void handle_completion_render(Context& context, net::Request&& request, Writer writer) {
  const auto parsed = read(context, request.body);
  if (!parsed.ok()) return send_error(writer, parsed.error());
  std::string body = "[";
  for (std::size_t i = 0; i < parsed->prompts.size(); ++i) {
    body += (i ? ",{\"prompt\":" : "{\"prompt\":") + json_string(parsed->request.prompts[i].text) +
            ",\"prompt_token_ids\":" + id_list(parsed->prompts[i]) + "}";
  }
  send_json(writer, 200, body + "]");
}

}  // namespace braid::serve
