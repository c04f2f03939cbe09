// SPDX-License-Identifier: Apache-2.0
#include "serve/logprobs_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "protocol/json_text.h"
#include "text/utf8.h"

namespace braid::serve {
namespace {

constexpr float kLowest = -9999.0f;  // JSON has no infinity

std::string number(float logprob) { return fmt::format("{}", std::isfinite(logprob) ? logprob : kLowest); }

// The token's bytes as text; broken characters become U+FFFD.
std::string token_text(const Generation& g, std::int32_t token) {
  const auto& tokenizer = g.context().parts.tokenizer;
  if (g.request().return_tokens_as_token_ids || g.context().settings.return_tokens_as_token_ids || !tokenizer) {
    return "token_id:" + std::to_string(token);
  }
  std::string text;
  const std::string& bytes = tokenizer->bytes(token);
  if (text::decode_utf8(bytes, text) < bytes.size()) text += text::kReplacement;
  return text;
}

void append_quoted(std::string& out, const std::string& text) { protocol::append_json_string(out, text); }

void append_chat_token(std::string& out, const Generation& g, const engine::TokenLogprob& t) {
  out += "{\"token\":";
  append_quoted(out, token_text(g, t.token));
  out += ",\"logprob\":" + number(t.logprob) + ",\"bytes\":[";
  if (const auto& tokenizer = g.context().parts.tokenizer) {
    const std::string& bytes = tokenizer->bytes(t.token);
    for (std::size_t i = 0; i < bytes.size(); ++i) out += (i ? "," : "") + std::to_string(static_cast<unsigned char>(bytes[i]));
  }
  out += "]";
}

// The chosen token, then the alternatives that are not the chosen one.
template <class Function>
void for_each_distinct(const engine::PositionLogprobs& p, Function&& use) {
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (i == 0 || p[i].token != p[0].token) use(p[i]);
  }
}

std::string by_id(const engine::TokenLogprob& t) {
  return "\"token_id\":" + std::to_string(t.token) + ",\"logprob\":" + number(t.logprob) + ",\"rank\":" + std::to_string(t.rank);
}

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

void append_tops(std::string& out, const Generation& g, const engine::PositionLogprobs& position) {
  const char* comma = "{";
  for_each_distinct(position, [&](const engine::TokenLogprob& t) {
    out += comma;
    append_quoted(out, token_text(g, t.token));
    out += ":" + number(t.logprob);
    comma = ",";
  });
  out += '}';
}

std::size_t alternatives(const engine::PositionLogprobs& p, const Generation& g) {
  const int top = g.request().sampling.logprobs.value_or(0);
  return top < 0 ? p.size() - 1 : std::min(p.size() - 1, static_cast<std::size_t>(top));
}

}  // namespace

std::vector<ScoredToken> prompt_scores(const Generation& g, const Choice& choice) {
  const auto& tokens = g.prompts()[static_cast<std::size_t>(choice.prompt)];
  // The engine tells them with the first of a prompt's choices.
  const auto& positions = g.choices()[static_cast<std::size_t>(choice.prompt * g.request().sampling.n)].prompt_logprobs;
  std::vector<ScoredToken> scored;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    scored.push_back({tokens[i], i < positions.size() && positions[i] ? &*positions[i] : nullptr});
  }
  return scored;
}

std::vector<ScoredToken> scores(std::span<const std::int32_t> tokens, std::span<const engine::PositionLogprobs> positions) {
  std::vector<ScoredToken> scored;
  for (std::size_t i = 0; i < tokens.size(); ++i) scored.push_back({tokens[i], i < positions.size() ? &positions[i] : nullptr});
  return scored;
}

std::string id_list(std::span<const std::int32_t> ids) {
  std::string out = "[";
  for (std::size_t i = 0; i < ids.size(); ++i) out += (i ? "," : "") + std::to_string(ids[i]);
  return out + "]";
}

std::string chat_logprobs(const Generation& g, std::span<const engine::PositionLogprobs> positions) {
  std::string out = "{\"content\":[";
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const auto& p = positions[i];
    if (p.empty()) continue;
    if (i) out += ',';
    append_chat_token(out, g, p[0]);
    out += ",\"top_logprobs\":[";
    for (std::size_t j = 1; j <= alternatives(p, g); ++j) {
      if (j > 1) out += ',';
      append_chat_token(out, g, p[j]);
      out += '}';
    }
    out += "]}";
  }
  return out + "]}";
}

std::string completion_logprobs(const Generation& g, std::span<const ScoredToken> scored, std::size_t& offset) {
  std::string offsets, logprobs, tokens, tops;
  const char* comma = "";
  for (const auto& [token, position] : scored) {
    const std::string text = token_text(g, token);
    offsets += comma + std::to_string(offset);
    offset += characters(text);
    tokens += comma;
    append_quoted(tokens, text);
    logprobs += comma + (position ? number(position->front().logprob) : "null");
    tops += comma;
    if (position) append_tops(tops, g, *position);
    else tops += "null";
    comma = ",";
  }
  return "{\"text_offset\":[" + offsets + "],\"token_logprobs\":[" + logprobs + "],\"tokens\":[" + tokens +
         "],\"top_logprobs\":[" + tops + "]}";
}

std::string generate_logprobs(std::span<const engine::PositionLogprobs> positions) {
  std::string out = "{\"content\":[";
  for (std::size_t i = 0; i < positions.size(); ++i) {
    out += (i ? ",{" : "{") + by_id(positions[i].front()) + ",\"top_logprobs\":[";
    const char* comma = "";
    for_each_distinct(positions[i], [&](const engine::TokenLogprob& t) {
      out += comma + ("{" + by_id(t)) + "}";
      comma = ",";
    });
    out += "]}";
  }
  return out + "]}";
}

std::string prompt_logprobs(const Generation& g, const Choice& choice) {
  if (choice.prompt_logprobs.empty()) return "null";
  std::string out = "[";
  for (std::size_t i = 0; i < choice.prompt_logprobs.size(); ++i) {
    if (i) out += ',';
    if (!choice.prompt_logprobs[i]) {
      out += "null";
      continue;
    }
    const char* comma = "{";
    for_each_distinct(*choice.prompt_logprobs[i], [&](const engine::TokenLogprob& t) {
      out += comma + ("\"" + std::to_string(t.token)) + "\":{\"logprob\":" + number(t.logprob) +
             ",\"rank\":" + std::to_string(t.rank) + ",\"decoded_token\":";
      append_quoted(out, token_text(g, t.token));
      out += '}';
      comma = ",";
    });
    out += '}';
  }
  return out + "]";
}

}  // namespace braid::serve
