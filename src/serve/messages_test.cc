// SPDX-License-Identifier: Apache-2.0
// /v1/messages over a model that babbles.
#include <gtest/gtest.h>

#include "serve/testing/babbling_fixture.h"

namespace braid::serve {
namespace {

using Json = nlohmann::ordered_json;

class MessagesTest : public testing::BabblingFixture {
 protected:
  static Json body(const Json& fields) {
    Json all = {{"model", "fake"}, {"max_tokens", 12}, {"messages", {{{"role", "user"}, {"content", "x"}}}}};
    all.update(fields);
    return all;
  }
  Json ask(const Json& fields, int status = 200) {
    const auto response = post("/v1/messages", body(fields));
    EXPECT_EQ(response.status, status) << response.body;
    return Json::parse(response.body);
  }
  std::vector<Json> stream(Json fields) {
    fields["stream"] = true;
    return events(post("/v1/messages", body(fields)).body);
  }
  // The kinds of events, each once where it repeats.
  static std::string order(const std::vector<Json>& events) {
    std::string all, last;
    for (const Json& event : events) {
      std::string type = event["type"];
      if (type == "content_block_delta") type = event["delta"]["type"];
      if (type != last) all += (all.empty() ? "" : " ") + type;
      last = type;
    }
    return all;
  }
};

TEST_F(MessagesTest, a_text_is_one_block_whole_and_streamed) {
  start();
  const Json greedy = {{"temperature", 0}};
  const Json whole = ask(greedy);
  EXPECT_EQ(whole["type"], "message");
  EXPECT_EQ(whole["role"], "assistant");
  EXPECT_EQ(whole["stop_reason"], "max_tokens");
  EXPECT_EQ(whole["usage"]["output_tokens"], 12);
  ASSERT_EQ(whole["content"].size(), 1u);
  const std::vector<Json> all = stream(greedy);
  EXPECT_EQ(order(all), "message_start ping content_block_start text_delta content_block_stop message_delta message_stop");
  std::string text;
  for (const Json& event : all) text += event["type"] == "content_block_delta" ? event["delta"]["text"].get<std::string>() : "";
  EXPECT_EQ(text, whole["content"][0]["text"]);
  EXPECT_EQ(all[all.size() - 2]["delta"]["stop_reason"], "max_tokens");
  EXPECT_EQ(all[0]["message"]["usage"]["input_tokens"], whole["usage"]["input_tokens"]);
}

TEST_F(MessagesTest, a_stop_sequence_says_which) {
  start();
  const std::string text = ask({{"temperature", 0}})["content"][0]["text"];
  const std::string stop = text.substr(text.size() / 2, 2);
  const Json stopped = ask({{"temperature", 0}, {"stop_sequences", {stop}}});
  EXPECT_EQ(stopped["stop_reason"], "stop_sequence");
  EXPECT_EQ(stopped["stop_sequence"], stop);
}

TEST_F(MessagesTest, a_tool_that_must_be_used_is_used) {
  Settings settings;
  settings.tool_call_parser = "hermes";
  settings.enable_auto_tool_choice = true;
  start(settings);
  const Json fields = {{"max_tokens", 200}, {"tool_choice", {{"type", "any"}, {"disable_parallel_tool_use", true}}},
                       {"tools", Json::parse(R"([{"name":"count","input_schema":{"type":"object","additionalProperties":false,
                          "properties":{"n":{"type":"integer","minimum":0,"maximum":99}},"required":["n"]}}])")}};
  const Json whole = ask(fields);
  ASSERT_EQ(whole["content"].size(), 1u) << whole;
  EXPECT_EQ(whole["stop_reason"], "tool_use");
  EXPECT_EQ(whole["content"][0]["type"], "tool_use");
  EXPECT_TRUE(whole["content"][0]["input"]["n"].is_number());
  const std::vector<Json> all = stream(fields);
  EXPECT_EQ(order(all), "message_start ping content_block_start input_json_delta content_block_stop message_delta message_stop");
  std::string json;
  for (const Json& event : all) json += event["type"] == "content_block_delta" ? event["delta"]["partial_json"].get<std::string>() : "";
  EXPECT_TRUE(Json::parse(json)["n"].is_number());
}

TEST_F(MessagesTest, thinking_is_a_block_of_its_own) {
  Settings settings;
  settings.reasoning_parser = "deepseek_r1";
  start(settings, std::string(kTemplate) + "{% if enable_thinking %}<think>{% endif %}");
  const Json fields = {{"thinking", {{"type", "enabled"}, {"budget_tokens", 3}}}, {"max_tokens", 60}};
  EXPECT_EQ(ask(fields)["content"][0]["type"], "thinking");
  EXPECT_EQ(order(stream(fields)).substr(0, 96), std::string("message_start ping content_block_start thinking_delta signature_delta content_block_stop content_block_start").substr(0, 96));
  EXPECT_EQ(ask({{"thinking", {{"type", "disabled"}}}})["content"][0]["type"], "text");
}

TEST_F(MessagesTest, tokens_are_counted_as_they_are_used) {
  start();
  const Json counted = Json::parse(post("/v1/messages/count_tokens", {{"model", "fake"}, {"messages", {{{"role", "user"}, {"content", "x"}}}}}).body);
  EXPECT_EQ(counted["input_tokens"], ask(Json::object())["usage"]["input_tokens"]);
}

TEST_F(MessagesTest, errors_and_keys_are_those_of_the_api) {
  Settings settings;
  settings.api_key = {"secret"};
  start(settings);
  EXPECT_EQ(ask(Json::object(), 401)["error"]["type"], "authentication_error");
  const auto with_key = [&](const Json& fields) {
    return fetch({.method = "POST", .target = "/v1/messages", .headers = {{"x-api-key", "secret"}}, .body = body(fields).dump()});
  };
  EXPECT_EQ(with_key(Json::object()).status, 200);
  const Json refused = Json::parse(with_key({{"max_tokens", 0}}).body);
  EXPECT_EQ(refused["type"], "error");
  EXPECT_EQ(refused["error"]["type"], "invalid_request_error");
  EXPECT_EQ(Json::parse(with_key({{"model", "other"}}).body)["error"]["type"], "not_found_error");
}

}  // namespace
}  // namespace braid::serve
