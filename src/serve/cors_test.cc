// SPDX-License-Identifier: Apache-2.0
#include "serve/cors.h"

#include <gtest/gtest.h>

namespace braid::serve {
namespace {

using Rules = CorsRules;
const Rules kOpen{{"*"}, {"*"}, {"*"}, false};
const Rules kOne{{"https://a.example"}, {"POST", "GET"}, {"content-type"}, true};

net::Request request(std::string method, std::vector<net::Header> headers) {
  return {.method = std::move(method), .target = "/v1/models", .headers = std::move(headers), .body = {}, .peer = {}};
}

std::string header(const Rules& rules, const std::string& origin, const char* name) {
  return std::string(net::find_header(Cors(rules).headers_for(request("GET", {{"Origin", origin}})), name));
}

TEST(Cors, tells_which_origins_may_read_an_answer) {
  const char* allow = "Access-Control-Allow-Origin";
  EXPECT_EQ(header(kOpen, "https://b.example", allow), "*");
  EXPECT_EQ(header(kOne, "https://a.example", allow), "https://a.example");
  EXPECT_EQ(header(kOne, "https://a.example", "Vary"), "Origin");
  EXPECT_EQ(header(kOne, "https://a.example", "Access-Control-Allow-Credentials"), "true");
  EXPECT_EQ(header(kOne, "https://b.example", allow), "");
  EXPECT_TRUE(Cors(kOpen).headers_for(request("GET", {})).empty());
}

TEST(Cors, all_origins_with_credentials_are_named_one_by_one) {
  Rules rules = kOpen;
  rules.credentials = true;
  EXPECT_EQ(header(rules, "https://b.example", "Access-Control-Allow-Origin"), "https://b.example");
}

TEST(Cors, answers_preflights) {
  const auto ask = [](const Rules& rules, const char* origin, const char* method, const char* headers) {
    return *Cors(rules).preflight(request("OPTIONS", {{"Origin", origin},
                                                      {"Access-Control-Request-Method", method},
                                                      {"Access-Control-Request-Headers", headers}}));
  };
  const auto open = ask(kOpen, "https://b.example", "POST", "authorization, content-type");
  EXPECT_EQ(open.status, 200);
  EXPECT_EQ(net::find_header(open.headers, "Access-Control-Allow-Headers"), "authorization, content-type");
  EXPECT_EQ(ask(kOne, "https://a.example", "POST", "Content-Type").status, 200);
  EXPECT_EQ(net::find_header(ask(kOne, "https://a.example", "POST", "").headers, "Access-Control-Allow-Methods"), "POST, GET");
  EXPECT_EQ(ask(kOne, "https://b.example", "POST", "").body, "Disallowed CORS origin");
  EXPECT_EQ(ask(kOne, "https://a.example", "PUT", "").body, "Disallowed CORS method");
  EXPECT_EQ(ask(kOne, "https://a.example", "POST", "content-type,x-other").body, "Disallowed CORS headers");
  EXPECT_EQ(ask(kOne, "https://a.example", "PUT", "").status, 400);
}

TEST(Cors, only_a_preflight_is_answered_as_one) {
  EXPECT_FALSE(Cors(kOpen).preflight(request("OPTIONS", {})));
  EXPECT_FALSE(Cors(kOpen).preflight(request("GET", {{"Origin", "a"}, {"Access-Control-Request-Method", "GET"}})));
}

}  // namespace
}  // namespace braid::serve
