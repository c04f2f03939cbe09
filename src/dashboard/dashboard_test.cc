// SPDX-License-Identifier: Apache-2.0
#include "dashboard/dashboard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace braid::dashboard {
namespace {

net::Request with(std::string name, std::string value) {
  net::Request request;
  request.headers.push_back({std::move(name), std::move(value)});
  return request;
}

const std::vector<std::string> kKeys{"first", "s3cret:with colon"};

TEST(Key, ComesAsBearerTokenOrInItsOwnHeader) {
  EXPECT_TRUE(has_key(with("Authorization", "Bearer first"), kKeys));
  EXPECT_TRUE(has_key(with("x-api-key", "first"), kKeys));
  EXPECT_FALSE(has_key(with("Authorization", "Bearer firs"), kKeys));
  EXPECT_FALSE(has_key(with("Authorization", "Bearer "), {""}));
  EXPECT_FALSE(has_key({}, kKeys));
  EXPECT_TRUE(has_key({}, {}));
}

TEST(Key, ComesAsABrowsersPasswordForThePageOnly) {
  const auto browser = with("Authorization", "Basic YW55Ym9keTpzM2NyZXQ6d2l0aCBjb2xvbg==");  // anybody:s3cret:with colon
  EXPECT_TRUE(may_look(browser, kKeys));
  EXPECT_FALSE(has_key(browser, kKeys));
  for (const char* wrong : {"Basic ", "Basic !!", "Basic YW55Ym9keQ==", "Basic YW55Ym9keTp3cm9uZw=="}) {
    EXPECT_FALSE(may_look(with("Authorization", wrong), kKeys)) << wrong;
  }
}

TEST(Page, HasEverythingInItselfAndNothingFromOutside) {
  EXPECT_THAT(std::string(page()), ::testing::StartsWith("<!doctype html>"));
  for (const char* outside : {"src=\"http", "href=\"http", "@import", "url(http", "/* style.css */", "/* script.js */"}) {
    EXPECT_EQ(page().find(outside), std::string_view::npos) << outside;
  }
}

}  // namespace
}  // namespace braid::dashboard
