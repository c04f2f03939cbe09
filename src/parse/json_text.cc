// SPDX-License-Identifier: Apache-2.0
#include "parse/json_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace braid::parse {
namespace {

using Json = nlohmann::json;

std::size_t skip_space(std::string_view text, std::size_t at) {
  while (at < text.size() && is_space(text[at])) ++at;
  return at;
}

// Behind the value that begins at `at`; npos: it has not ended.
std::size_t value_end(std::string_view text, std::size_t at) {
  if (at >= text.size()) return std::string_view::npos;
  if (text[at] == '{' || text[at] == '[') {
    BracketDepth depth;
    const std::size_t taken = depth.take(text.substr(at));
    return depth.closed() ? at + taken : std::string_view::npos;
  }
  if (text[at] == '"') {
    for (std::size_t i = at + 1; i < text.size(); ++i) {
      if (text[i] == '\\') ++i;
      else if (text[i] == '"') return i + 1;
    }
    return std::string_view::npos;
  }
  return text.find_first_of(",}] \t\r\n", at);
}

std::optional<std::string> string_of(std::string_view json) {
  const Json value = Json::parse(json.begin(), json.end(), nullptr, false);
  if (!value.is_string()) return std::nullopt;
  return value.get<std::string>();
}

}  // namespace

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::string quoted(std::string_view text) { return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace); }

bool is_json(std::string_view text) { return Json::accept(text.begin(), text.end()); }

std::string json_or_quoted(std::string_view text) {
  return is_json(trimmed(text)) ? std::string(trimmed(text)) : quoted(text);
}

std::size_t BracketDepth::take(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string_) {
      if (escaped_) escaped_ = false;
      else if (c == '\\') escaped_ = true;
      else if (c == '"') in_string_ = false;
    } else if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      opened_ = true;
      ++depth_;
    } else if ((c == '}' || c == ']') && depth_ > 0 && --depth_ == 0) {
      return i + 1;
    }
  }
  return text.size();
}

CallObject read_call(std::string_view text, std::initializer_list<std::string_view> argument_keys) {
  CallObject call;
  text = trimmed(text);
  if (text.empty() || text.front() != '{') return call;
  call.valid = is_json(text);
  std::size_t at = 1;
  while (true) {
    at = skip_space(text, at);
    const std::size_t key_end = value_end(text, at);
    if (key_end == std::string_view::npos || text[at] != '"') return call;
    const auto key = string_of(text.substr(at, key_end - at));
    at = skip_space(text, key_end);
    if (at >= text.size() || text[at] != ':') return call;
    at = skip_space(text, at + 1);
    const std::size_t end = value_end(text, at);
    const std::string_view value = text.substr(std::min(at, text.size()), end == std::string_view::npos ? end : end - at);
    if (key && std::find(argument_keys.begin(), argument_keys.end(), *key) != argument_keys.end()) call.arguments = value;
    if (end == std::string_view::npos) return call;
    if (key == "name") call.name = string_of(value);
    at = skip_space(text, end);
    if (at >= text.size() || text[at] != ',') return call;
    ++at;
  }
}

}  // namespace braid::parse
