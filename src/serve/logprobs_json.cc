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

std::size_t alternatives(const engine::PositionLogprobs& p, const Generation& g) {
  const int top = g.request().sampling.logprobs.value_or(0);
  return top < 0 ? p.size() - 1 : std::min(p.size() - 1, static_cast<std::size_t>(top));
}

}  // namespace

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

std::string completion_logprobs(const Generation& g, std::span<const engine::PositionLogprobs> positions,
                                std::size_t offset) {
  std::string offsets, logprobs, tokens, tops;
  for (std::size_t i = 0; i < positions.size(); ++i) {
    const auto& p = positions[i];
    if (p.empty()) continue;
    const char* comma = i ? "," : "";
    const std::string text = token_text(g, p[0].token);
    offsets += comma + std::to_string(offset);
    offset += text.size();
    logprobs += comma + number(p[0].logprob);
    tokens += comma;
    append_quoted(tokens, text);
    tops += std::string(comma) + "{";
    append_quoted(tops, text);
    tops += ":" + number(p[0].logprob);
    for (std::size_t j = 1; j <= alternatives(p, g); ++j) {
      if (p[j].token == p[0].token) continue;
      tops += ',';
      append_quoted(tops, token_text(g, p[j].token));
      tops += ":" + number(p[j].logprob);
    }
    tops += '}';
  }
  return "{\"text_offset\":[" + offsets + "],\"token_logprobs\":[" + logprobs + "],\"tokens\":[" + tokens +
         "],\"top_logprobs\":[" + tops + "]}";
}

std::string prompt_logprobs(const Generation& g, std::span<const std::optional<engine::PositionLogprobs>> positions) {
  if (positions.empty()) return "null";
  std::string out = "[";
  for (std::size_t i = 0; i < positions.size(); ++i) {
    if (i) out += ',';
    if (!positions[i]) {
      out += "null";
      continue;
    }
    out += '{';
    bool first = true;
    for (std::size_t j = 0; j < positions[i]->size(); ++j) {
      const auto& t = (*positions[i])[j];
      if (j > 0 && t.token == (*positions[i])[0].token) continue;
      out += (first ? "\"" : ",\"") + std::to_string(t.token) + "\":{\"logprob\":" + number(t.logprob) +
             ",\"rank\":" + std::to_string(t.rank) + ",\"decoded_token\":";
      append_quoted(out, token_text(g, t.token));
      out += '}';
      first = false;
    }
    out += '}';
  }
  return out + "]";
}

}  // namespace braid::serve
