// SPDX-License-Identifier: Apache-2.0
#include "dashboard/dashboard.h"

#include <algorithm>
#include <cstdint>

namespace braid::dashboard {
namespace {

constexpr std::string_view kBearer = "Bearer ";
constexpr std::string_view kBasic = "Basic ";
constexpr const char* kPolicy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
                                "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

// Compares without telling by its time where the difference is.
bool same_key(std::string_view given, std::string_view key) {
  unsigned char difference = given.size() == key.size() ? 0 : 1;
  for (std::size_t i = 0; i < given.size(); ++i) {
    difference |= static_cast<unsigned char>(given[i] ^ key[i % std::max<std::size_t>(key.size(), 1)]);
  }
  return difference == 0;
}

bool is_key(std::string_view given, const std::vector<std::string>& keys) {
  return std::any_of(keys.begin(), keys.end(), [&](const std::string& key) { return !key.empty() && same_key(given, key); });
}

// What stands before the first character that is none of base64's.
std::string from_base64(std::string_view text) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const std::size_t digit = kDigits.find(c);
    if (digit == kDigits.npos) break;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 0xff);
  }
  return bytes;
}

}  // namespace

net::Response page_response() {
  return {.content_type = "text/html; charset=utf-8",
          .headers = {{"Content-Security-Policy", kPolicy}, {"Cache-Control", "no-cache"}, {"X-Content-Type-Options", "nosniff"}},
          .body = std::string(page())};
}

net::Response data_response(std::string json) { return {.headers = {{"Cache-Control", "no-store"}}, .body = std::move(json)}; }

bool has_key(const net::Request& request, const std::vector<std::string>& keys) {
  if (keys.empty()) return true;
  std::string_view given = request.header("Authorization");
  if (given.starts_with(kBearer)) given.remove_prefix(kBearer.size());
  else given = request.header("x-api-key");  // as Anthropic's clients send it
  return is_key(given, keys);
}

bool may_look(const net::Request& request, const std::vector<std::string>& keys) {
  if (has_key(request, keys)) return true;
  std::string_view given = request.header("Authorization");
  if (!given.starts_with(kBasic)) return false;
  const std::string pair = from_base64(given.substr(kBasic.size()));
  const std::size_t colon = pair.find(':');
  return colon != pair.npos && is_key(std::string_view(pair).substr(colon + 1), keys);
}

net::Response challenge() {
  return {.status = 401, .content_type = "text/plain; charset=utf-8",
          .headers = {{"WWW-Authenticate", "Basic realm=\"braid: an API key as password, any user\", charset=\"UTF-8\""}},
          .body = "Unauthorized: send one of the server's API keys as a bearer token, or as password\n"};
}

}  // namespace braid::dashboard
