// SPDX-License-Identifier: Apache-2.0
// Tool choices and limits of reasoning hold whatever the model would say.
#include <gtest/gtest.h>

#include "serve/testing/babbling_fixture.h"

namespace braid::serve {
namespace {

using Json = nlohmann::ordered_json;

const Json kTools = Json::parse(R"json([
  {"type": "function", "function": {"name": "count", "parameters": {"type": "object", "additionalProperties": false,
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["n"]}}},
  {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}, "additionalProperties": false}}}])json");

class ToolChoiceTest : public testing::BabblingFixture {
 protected:
  static Json body(Json fields) {
    Json all = {{"messages", {{{"role", "user"}, {"content", "x"}}}}, {"tools", kTools}, {"max_tokens", 200}, {"seed", 5}};
    all.update(fields);
    return all;
  }
  Json choice(const Json& fields) {
    const auto response = post("/v1/chat/completions", body(fields));
    EXPECT_EQ(response.status, 200) << response.body;
    return Json::parse(response.body)["choices"][0];
  }
  std::string refused_param(const Json& fields) {
    const auto response = post("/v1/chat/completions", body(fields));
    EXPECT_EQ(response.status, 400) << response.body;
    return Json::parse(response.body)["error"]["param"];
  }
  // The calls of a stream, put together, and how it ended.
  std::pair<std::vector<Json>, std::string> streamed(Json fields) {
    fields["stream"] = true;
    std::pair<std::vector<Json>, std::string> all;
    for (const Json& event : events(post("/v1/chat/completions", body(fields)).body)) {
      const Json& one = event["choices"][0];
      for (const Json& call : one["delta"].value("tool_calls", Json::array())) {
        if (call["function"].contains("name")) all.first.push_back(call["function"]);
        else {
          Json& arguments = all.first.at(call["index"])["arguments"];
          arguments = arguments.get<std::string>() + call["function"]["arguments"].get<std::string>();
        }
      }
      if (one["finish_reason"].is_string()) all.second = one["finish_reason"];
    }
    return all;
  }
};

Settings with(const std::string& tools, const std::string& reasoning = "") {
  Settings settings;
  settings.tool_call_parser = tools;
  settings.reasoning_parser = reasoning;
  settings.enable_auto_tool_choice = !tools.empty();
  return settings;
}

void expect_fits(const Json& function) {
  const Json arguments = Json::parse(function["arguments"].get<std::string>(), nullptr, false);
  ASSERT_TRUE(arguments.is_object()) << function;
  if (function["name"] == "now") EXPECT_TRUE(arguments.empty()) << function;
  else EXPECT_TRUE(function["name"] == "count" && arguments["n"].is_number_integer()) << function;
}

TEST_F(ToolChoiceTest, required_brings_calls_that_fit_the_tools_whole_and_streamed) {
  for (const char* format : {"hermes", "deepseek_v31", "qwen3_coder", "llama3_json", ""}) {
    SCOPED_TRACE(format);
    start(with(format));
    const Json fields = {{"tool_choice", "required"}, {"parallel_tool_calls", false}};
    const Json whole = choice(fields);
    ASSERT_EQ(whole["message"]["tool_calls"].size(), 1u) << whole;
    EXPECT_EQ(whole["finish_reason"], "tool_calls");
    EXPECT_TRUE(whole["message"]["content"].is_null());
    expect_fits(whole["message"]["tool_calls"][0]["function"]);
    const auto [calls, finish] = streamed(fields);
    ASSERT_EQ(calls.size(), 1u);
    EXPECT_EQ(finish, "tool_calls");
    EXPECT_EQ(calls[0], whole["message"]["tool_calls"][0]["function"]);
    TearDown();
  }
}

TEST_F(ToolChoiceTest, a_named_tool_is_called_once) {
  start(with("hermes"));
  const Json fields = {{"tool_choice", {{"type", "function"}, {"function", {{"name", "count"}}}}}};
  const Json whole = choice(fields);
  ASSERT_EQ(whole["message"]["tool_calls"].size(), 1u) << whole;
  EXPECT_EQ(whole["message"]["tool_calls"][0]["function"]["name"], "count");
  EXPECT_EQ(whole["finish_reason"], "stop");
  expect_fits(whole["message"]["tool_calls"][0]["function"]);
  EXPECT_EQ(streamed(fields).first.at(0), whole["message"]["tool_calls"][0]["function"]);
}

TEST_F(ToolChoiceTest, auto_without_a_parser_is_refused_and_none_is_text) {
  start(with(""));
  EXPECT_EQ(refused_param(Json::object()), "tool_choice");
  EXPECT_EQ(refused_param({{"tool_choice", "auto"}}), "tool_choice");
  EXPECT_FALSE(choice({{"tool_choice", "none"}, {"max_tokens", 3}})["message"].contains("tool_calls"));
}

TEST_F(ToolChoiceTest, the_template_tells_the_parser) {
  start({}, std::string(kTemplate) + "{% if tools %}<tool_call>{% endif %}");
  EXPECT_EQ(choice({{"max_tokens", 3}})["finish_reason"], "length");
  EXPECT_TRUE(choice({{"tool_choice", "required"}})["message"].contains("tool_calls"));
}

TEST_F(ToolChoiceTest, an_answer_behind_reasoning_follows_its_schema) {
  start(with("", "deepseek_r1"), std::string(kTemplate) + "<think>");
  const Json fields = {{"tools", nullptr}, {"thinking_token_budget", 5},
                       {"response_format", {{"type", "json_schema"}, {"json_schema", {{"name", "a"}, {"schema", {{"enum", {"red", "green"}}}}}}}}};
  const Json message = choice(fields)["message"];
  EXPECT_TRUE(message["content"] == "\"red\"" || message["content"] == "\"green\"") << message;
  EXPECT_NE(message["reasoning"], "");
  Json hidden = fields;
  hidden["include_reasoning"] = false;
  EXPECT_TRUE(choice(hidden)["message"]["reasoning"].is_null());
}

TEST_F(ToolChoiceTest, a_call_that_is_required_comes_behind_the_reasoning) {
  start(with("hermes", "qwen3"), std::string(kTemplate) + "<think>");
  const Json whole = choice({{"tool_choice", "required"}, {"thinking_token_budget", 4}, {"parallel_tool_calls", false}});
  ASSERT_EQ(whole["message"]["tool_calls"].size(), 1u) << whole;
  EXPECT_TRUE(whole["message"]["reasoning"].is_string());
}

TEST_F(ToolChoiceTest, a_thinking_budget_without_a_reasoning_parser_is_refused) {
  start(with("hermes"));
  EXPECT_EQ(refused_param({{"thinking_token_budget", 4}}), "thinking_token_budget");
}

}  // namespace
}  // namespace braid::serve
