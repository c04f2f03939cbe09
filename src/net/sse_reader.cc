// SPDX-License-Identifier: Apache-2.0
#include <charconv>

#include "net/http_client.h"

namespace braid::net {

void SseReader::feed(std::string_view bytes,
                     const std::function<void(std::string_view data)>& on_event) {
  while (!bytes.empty()) {
    auto end = bytes.find('\n');
    if (end == std::string_view::npos) {
      line_ += bytes;
      return;
    }
    line_ += bytes.substr(0, end);
    bytes.remove_prefix(end + 1);
    if (!line_.empty() && line_.back() == '\r') line_.pop_back();
    if (line_.empty()) {
      if (has_data_) on_event(data_);
      data_.clear();
      has_data_ = false;
    } else if (line_.rfind("data:", 0) == 0) {
      if (has_data_) data_ += '\n';
      data_ += std::string_view(line_).substr(line_.size() > 5 && line_[5] == ' ' ? 6 : 5);
      has_data_ = true;
    }
    line_.clear();
  }
}

Result<Url> parse_url(std::string_view text) {
  auto bad = [&](const char* why) {
    return invalid_argument("'" + std::string(text) + "' is not a usable URL: " + why);
  };
  constexpr std::string_view kScheme = "http://";
  std::string_view rest = text;
  if (rest.rfind("https://", 0) == 0) return bad("https is not spoken, use http");
  if (rest.rfind(kScheme, 0) == 0) rest.remove_prefix(kScheme.size());
  Url url;
  auto slash = rest.find('/');
  if (slash != std::string_view::npos) {
    url.base = std::string(rest.substr(slash));
    while (!url.base.empty() && url.base.back() == '/') url.base.pop_back();
    rest = rest.substr(0, slash);
  }
  auto colon = rest.rfind(':');
  bool bracketed = !rest.empty() && rest.front() == '[';
  if (colon != std::string_view::npos && (!bracketed || rest[colon - 1] == ']')) {
    auto digits = rest.substr(colon + 1);
    auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), url.port);
    bool whole = parsed.ptr == digits.data() + digits.size() && !digits.empty();
    if (parsed.ec != std::errc() || !whole || url.port < 1 || url.port > 65535) {
      return bad("the port is not a number from 1 to 65535");
    }
    rest = rest.substr(0, colon);
  }
  if (bracketed && rest.size() > 2) rest = rest.substr(1, rest.size() - 2);
  if (rest.empty()) return bad("it names no host");
  url.host = std::string(rest);
  return url;
}

}  // namespace braid::net
