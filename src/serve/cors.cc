// SPDX-License-Identifier: Apache-2.0
#include "serve/cors.h"

#include <strings.h>

#include <algorithm>

namespace braid::serve {
namespace {

constexpr std::string_view kAllMethods = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT";

bool same_word(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

bool allows_all(const std::vector<std::string>& list) { return std::find(list.begin(), list.end(), "*") != list.end(); }

bool allows(const std::vector<std::string>& list, std::string_view word) {
  return allows_all(list) || std::any_of(list.begin(), list.end(), [&](const std::string& w) { return same_word(w, word); });
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    std::string_view word = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    while (word.starts_with(' ')) word.remove_prefix(1);
    while (word.ends_with(' ')) word.remove_suffix(1);
    if (!word.empty()) words.push_back(word);
  }
  return words;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace

std::vector<net::Header> Cors::headers_for(const net::Request& request) const {
  const std::string_view origin = request.header("Origin");
  if (origin.empty() || !allows(rules_.origins, origin)) return {};
  if (allows_all(rules_.origins) && !rules_.credentials) return {{"Access-Control-Allow-Origin", "*"}};
  std::vector<net::Header> headers{{"Access-Control-Allow-Origin", std::string(origin)}, {"Vary", "Origin"}};
  if (rules_.credentials) headers.push_back({"Access-Control-Allow-Credentials", "true"});
  return headers;
}

std::optional<net::Response> Cors::preflight(const net::Request& request) const {
  const std::string_view method = request.header("Access-Control-Request-Method");
  const std::string_view asked = request.header("Access-Control-Request-Headers");
  if (request.method != "OPTIONS" || method.empty() || request.header("Origin").empty()) return std::nullopt;
  net::Response response;
  response.content_type = "text/plain; charset=utf-8";
  std::string refused;
  if (!allows(rules_.origins, request.header("Origin"))) refused = "origin";
  else if (!allows(rules_.methods, method)) refused = "method";
  for (const auto word : words_of(asked)) {
    if (refused.empty() && !allows(rules_.headers, word)) refused = "headers";
  }
  if (!refused.empty()) {
    response.status = 400;
    response.body = "Disallowed CORS " + refused;
    return response;
  }
  response.headers = {{"Access-Control-Allow-Methods", allows_all(rules_.methods) ? std::string(kAllMethods) : joined(rules_.methods)},
                      {"Access-Control-Max-Age", "600"}};
  const std::string headers = allows_all(rules_.headers) ? std::string(asked) : joined(rules_.headers);
  if (!headers.empty()) response.headers.push_back({"Access-Control-Allow-Headers", headers});
  response.body = "OK";
  return response;
}

}  // namespace braid::serve
