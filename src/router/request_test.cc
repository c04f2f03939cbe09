// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "router/endpoint.h"
#include "router/request.h"

namespace braid::router {
namespace {

RoutedRequest read(std::string path, std::string body, HeaderList headers = {}) {
  auto request = read_request({"POST", std::move(path), std::move(headers), std::move(body)}, {});
  EXPECT_TRUE(request.ok()) << (request.ok() ? "" : request.error().message);
  return request.ok() ? *request : RoutedRequest{};
}

std::string prompt_of(const RoutedRequest& request) {
  std::string text;
  for (const Piece& piece : request.facts.prompt) text += piece.in(request.body);
  return text;
}

TEST(ReadRequest, finds_the_facts_of_a_chat_without_reading_the_rest) {
  const RoutedRequest request = read("/v1/chat/completions?x=1", R"({
    "messages": [{"role": "user", "content": "say \"hi\" {["}], "model": "a\u00e9\n",
    "tools": [{"type": "function"}], "stream": true, "max_tokens": 7, "max_completion_tokens": 9,
    "priority": -2, "cache_salt": "s", "other": {"deep": [1, 2.5e3, null]}})");
  EXPECT_EQ(request.path, "/v1/chat/completions");
  EXPECT_EQ(request.model, "a\xc3\xa9\n");
  EXPECT_EQ(prompt_of(request), R"([{"type": "function"}][{"role": "user", "content": "say \"hi\" {["}])");
  EXPECT_TRUE(request.facts.streaming);
  EXPECT_EQ(request.facts.max_tokens, 9);
  EXPECT_EQ(request.facts.priority, -2);
  EXPECT_EQ(request.facts.cache_salt, "s");
  EXPECT_FALSE(request.facts.multimodal);
}

TEST(ReadRequest, knows_prompts_of_each_api) {
  EXPECT_EQ(prompt_of(read("/v1/completions", R"({"model":"m","prompt":"abcd"})")), "abcd");
  EXPECT_EQ(prompt_of(read("/v1/responses", R"({"model":"m","input":"x","instructions":"i"})")), "ix");
  EXPECT_EQ(prompt_of(read("/v1/messages", R"({"model":"m","messages":[1],"system":"s"})")), "s[1]");
  const RoutedRequest ids = read("/inference/v1/generate", R"({"token_ids":[1, 2,3],"sampling_params":{"max_tokens":4}})");
  EXPECT_EQ(ids.facts.token_ids, (std::vector<std::int32_t>{1, 2, 3}));
  EXPECT_EQ(ids.facts.max_tokens, 4);
  EXPECT_EQ(read("/v1/completions", R"({"prompt":[[5,6],[7]]})").facts.token_ids, (std::vector<std::int32_t>{5, 6}));
  EXPECT_TRUE(read("/v1/other", "not json").facts.prompt.empty());
}

TEST(ReadRequest, sees_media) {
  EXPECT_TRUE(read("/v1/chat/completions", R"({"messages":[{"content":[{"type":"image_url","image_url":{}}]}]})").facts.multimodal);
  EXPECT_FALSE(read("/v1/chat/completions", R"({"messages":[{"content":"image_url"}]})").facts.multimodal);
}

TEST(ReadRequest, names_of_today_win_over_old_header_names) {
  const RoutedRequest request = read("/v1/completions", R"({"model":"m"})",
                                     {{"x-gateway-inference-fairness-id", "old"},
                                      {"x-llm-d-inference-fairness-id", "new"},
                                      {"x-gateway-inference-objective", "o"},
                                      {"x-slo-ttft-ms", "250"},
                                      {"x-llm-d-inference-ttl", "1.5s"},
                                      {"prefer", "wait=5, if-available"},
                                      {"x-gateway-destination-endpoint-subset", "a:1, b"}});
  EXPECT_EQ(request.fairness_id, "new");
  EXPECT_EQ(request.objective, "o");
  EXPECT_EQ(request.slo_ttft_ms, 250);
  EXPECT_EQ(request.ttl, std::chrono::milliseconds(1500));
  EXPECT_TRUE(request.if_available);
  EXPECT_EQ(request.subset, (std::vector<std::string>{"a:1", "b"}));
  EXPECT_EQ(read("/v1/completions", "{}").fairness_id, "default-flow");
}

TEST(ReadRequest, refuses_what_is_no_object_and_headers_that_do_not_parse) {
  for (const char* body : {"", "[]", "{", R"({"model" "m"})", R"({"model":"m",})", R"({"a":[1}})", R"({"a":"x)", R"({"a":tru})", "{} x",
                           R"({"model":5})", R"({"stream":"yes"})", R"({"max_tokens":1.5})"}) {
    EXPECT_FALSE(read_request({"POST", "/v1/completions", {}, body}, {}).ok()) << body;
  }
  const auto bad = read_request({"POST", "/v1/completions", {{"x-llm-d-slo-ttft-ms", "soon"}}, "{}"}, {});
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().message, "header x-llm-d-slo-ttft-ms is 'soon'; it must be a number of milliseconds");
}

TEST(ReadRequest, deep_nesting_is_refused_and_does_not_overflow) {
  EXPECT_FALSE(read_request({"POST", "/v1/completions", {}, "{\"a\":" + std::string(100000, '[')}, {}).ok());
}

TEST(BodyWithModel, replaces_the_model_and_nothing_else) {
  const RoutedRequest request = read("/v1/completions", R"({"prompt": "model", "model" : "a", "x": 1})");
  EXPECT_EQ(body_with_model(request, "b\"c"), R"({"prompt": "model", "model" : "b\"c", "x": 1})");
}

TEST(Roles, follow_the_label) {
  const auto roles = [](const char* role) { return roles_of({{std::string(kRoleLabel), role}}); };
  EXPECT_TRUE(roles_of({}).decode && !roles_of({}).prefill);
  EXPECT_TRUE(roles("both").decode && roles("both").prefill && !roles("both").encode);
  EXPECT_TRUE(roles("encode-prefill").prefill && roles("encode-prefill").encode && !roles("encode-prefill").decode);
  EXPECT_FALSE(roles("other").decode);
}

}  // namespace
}  // namespace braid::router
