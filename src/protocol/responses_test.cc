// SPDX-License-Identifier: Apache-2.0
#include "protocol/responses.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace braid::protocol {
namespace {

using Json = nlohmann::ordered_json;

std::optional<std::string> find(const std::string& id) {
  if (id != "resp_1") return std::nullopt;
  return R"([{"role":"user","content":"first"},{"role":"assistant","content":"answer"}])";
}

Result<ResponsesRequest> parsed(const std::string& body) { return parse_responses(body, {}, true, find); }

std::string messages(const std::string& input) {
  const auto request = parsed(R"({"input":)" + input + "}");
  return request.ok() ? request->messages : request.error().message;
}

std::string param(const std::string& body) {
  const auto request = parsed(body);
  return request.ok() ? "accepted" : request.error().param;
}

TEST(ParseResponses, input_becomes_a_conversation) {
  EXPECT_EQ(messages(R"("hi")"), R"([{"role":"user","content":"hi"}])");
  EXPECT_EQ(messages(R"([{"role":"developer","content":"be brief"},{"type":"message","role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_text","text":"b"}]}])"),
            R"([{"role":"system","content":"be brief"},{"role":"user","content":"a\nb"}])");
}

TEST(ParseResponses, an_assistants_turn_is_one_message) {
  EXPECT_EQ(messages(R"([{"role":"user","content":"q"},{"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]},
      {"type":"function_call","call_id":"c1","name":"f","arguments":"{\"a\":1}"},{"type":"function_call","call_id":"c2","name":"g","arguments":"{}"},
      {"type":"function_call_output","call_id":"c1","output":"one"},
      {"type":"message","role":"assistant","content":[{"type":"output_text","text":"done"}]}])"),
            R"([{"role":"user","content":"q"},{"role":"assistant","content":"","reasoning":"hm","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":{"a":1}}},{"id":"c2","type":"function","function":{"name":"g","arguments":{}}}]},{"role":"tool","tool_call_id":"c1","content":"one"},{"role":"assistant","content":"done"}])");
}

TEST(ParseResponses, earlier_turns_come_first_and_instructions_are_of_this_turn) {
  const auto request = parsed(R"({"input":"more","instructions":"be kind","previous_response_id":"resp_1"})");
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_EQ(request->messages, R"([{"role":"system","content":"be kind"},{"role":"user","content":"first"},{"role":"assistant","content":"answer"},{"role":"user","content":"more"}])");
  EXPECT_EQ(request->history.find("be kind"), std::string::npos);
  const auto lost = parsed(R"({"input":"more","previous_response_id":"resp_2"})");
  ASSERT_FALSE(lost.ok());
  EXPECT_EQ(lost.error().code, ErrorCode::kNotFound);
}

TEST(ParseResponses, tools_and_choices_are_those_of_a_chat) {
  const std::string tools = R"("input":"x","tools":[{"type":"function","name":"f","parameters":{"type":"object"},"strict":true},{"type":"function","name":"g"}])";
  const auto request = parsed("{" + tools + R"(,"tool_choice":{"type":"function","name":"g"}})");
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_EQ(request->tool_choice, ChatRequest::ToolChoice::kNamed);
  EXPECT_EQ(request->tool_name, "g");
  EXPECT_EQ(Json::parse(request->tools)[0], Json::parse(R"({"type":"function","function":{"name":"f","parameters":{"type":"object"},"strict":true}})"));
  const auto allowed = parsed("{" + tools + R"(,"tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"}]}})");
  EXPECT_EQ(allowed->tool_choice, ChatRequest::ToolChoice::kRequired);
  EXPECT_EQ(Json::parse(allowed->tools).size(), 1u);
}

TEST(ParseResponses, fields_keep_their_meaning) {
  const auto request = parsed(R"({"input":"x","max_output_tokens":7,"store":false,"truncation":"auto","reasoning":{"effort":"none"},
      "text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"}}},"include":["message.output_text.logprobs"],"top_logprobs":2})");
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_EQ(request->max_tokens, 7);
  EXPECT_FALSE(request->store);
  EXPECT_EQ(request->truncate_prompt_tokens, -1);
  EXPECT_EQ(request->template_kwargs, R"({"reasoning_effort":"none","enable_thinking":false})");
  EXPECT_EQ(request->sampling.structured.kind, StructuredOutput::Kind::kJsonSchema);
  EXPECT_EQ(request->sampling.logprobs, 2);
  EXPECT_EQ(Json::parse(request->repeated)["text"]["format"]["name"], "n");
}

TEST(ParseResponses, names_what_it_does_not_take) {
  EXPECT_EQ(param("{}"), "body.input");
  EXPECT_EQ(param(R"({"input":"x","background":true,"store":false})"), "background");
  EXPECT_EQ(param(R"({"input":"x","prompt":{"id":"p"}})"), "prompt");
  EXPECT_EQ(param(R"({"input":"x","tools":[{"type":"web_search"}]})"), "body.tools.0.type");
  EXPECT_EQ(param(R"({"input":[{"type":"item_reference","id":"x"}]})"), "body.input");
  EXPECT_EQ(param(R"({"input":[{"role":"user","content":[{"type":"input_image","image_url":"x"}]}]})"), "body.input");
  EXPECT_EQ(param(R"({"input":"x","tool_choice":"required"})"), "tool_choice");
  EXPECT_EQ(param(R"({"input":"x","tool_choice":"x"})"), "body.tool_choice");
  EXPECT_EQ(param(R"({"input":"x","tools":[{"type":"function","name":"f"}],"tool_choice":{"type":"function"}})"), "tool_choice");
  EXPECT_EQ(param(R"({"input":"x","tools":[{"type":"function"}]})"), "body.tools.0.FunctionTool.name");
  EXPECT_EQ(param(R"({"input":"x","presence_penalty":2.5})"), "body.presence_penalty");
  EXPECT_EQ(param(R"({"input":"x","kv_transfer_params":"x"})"), "body.kv_transfer_params");
  EXPECT_EQ(param(R"({"input":"x","stop":""})"), "accepted");
  EXPECT_EQ(param(R"({"input":[1]})"), "body.input");
}

}  // namespace
}  // namespace braid::protocol
