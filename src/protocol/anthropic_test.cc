// SPDX-License-Identifier: Apache-2.0
#include "protocol/anthropic.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace braid::protocol {
namespace {

using Json = nlohmann::ordered_json;

const std::string kHead = R"("model":"m","max_tokens":9,)";

Result<ChatRequest> parsed(const std::string& fields, MessagesPurpose purpose = MessagesPurpose::kAnswer) {
  return parse_messages("{" + fields + "}", {}, true, purpose);
}

std::string param(const std::string& fields) {
  const auto request = parsed(fields);
  return request.ok() ? "accepted" : request.error().param;
}

TEST(ParseMessages, blocks_become_messages_of_a_chat) {
  const auto request = parsed(kHead + R"("system":[{"type":"text","text":"be brief"}],"messages":[{"role":"user","content":"q"},
      {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"let me see"},
        {"type":"tool_use","id":"t1","name":"f","input":{"a":1}}]},
      {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"one"}]},{"type":"text","text":"and?"}]}])");
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_EQ(request->messages,
            R"([{"role":"system","content":"be brief"},{"role":"user","content":"q"},{"role":"assistant","content":"let me see","reasoning":"hm","tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":{"a":1}}}]},{"role":"tool","tool_call_id":"t1","content":"one"},{"role":"user","content":"and?"}])");
}

TEST(ParseMessages, fields_keep_their_meaning) {
  const auto request = parsed(kHead + R"("messages":[{"role":"user","content":"q"}],"stop_sequences":["x"],"top_k":4,"stream":true,
      "tools":[{"name":"f","description":"d","input_schema":{"type":"object"}}],"tool_choice":{"type":"tool","name":"f","disable_parallel_tool_use":true},
      "thinking":{"type":"enabled","budget_tokens":1024})");
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_EQ(request->max_tokens, 9);
  EXPECT_EQ(request->sampling.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(request->sampling.top_k, 4);
  EXPECT_TRUE(request->stream);
  EXPECT_EQ(request->tool_name, "f");
  EXPECT_FALSE(request->parallel_tool_calls);
  EXPECT_EQ(request->thinking_budget, 1024);
  EXPECT_EQ(Json::parse(request->tools)[0]["function"]["parameters"]["type"], "object");
  EXPECT_EQ(Json::parse(request->template_kwargs)["enable_thinking"], true);
}

TEST(ParseMessages, any_tool_is_a_required_one) {
  const auto request = parsed(kHead + R"("messages":[{"role":"user","content":"q"}],"tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"any"})");
  EXPECT_EQ(request->tool_choice, ChatRequest::ToolChoice::kRequired);
}

TEST(ParseMessages, names_what_it_does_not_take) {
  EXPECT_EQ(param(R"("model":"m","messages":[{"role":"user","content":"q"}])"), "max_tokens");
  EXPECT_EQ(param(kHead + R"("messages":[])"), "messages");
  EXPECT_EQ(param(kHead + R"("messages":[{"role":"system","content":"q"}])"), "messages.0.role");
  EXPECT_EQ(param(kHead + R"("messages":[{"role":"user","content":[{"type":"image","source":{}}]}])"), "messages.0.content.0.type");
  EXPECT_EQ(param(kHead + R"("messages":[{"role":"user","content":"q"}],"tools":[{"type":"bash_20250124","name":"bash"}])"), "tools.0.type");
}

TEST(ParseMessages, counting_needs_no_limit) {
  EXPECT_TRUE(parsed(R"("model":"m","messages":[{"role":"user","content":"q"}])", MessagesPurpose::kCount).ok());
}

TEST(AnthropicErrors, have_the_types_of_that_api) {
  EXPECT_EQ(anthropic_error_body(invalid_argument("no"), 400), R"({"type":"error","error":{"type":"invalid_request_error","message":"no"}})");
  EXPECT_NE(anthropic_error_body(invalid_argument("no"), 429).find("rate_limit_error"), std::string::npos);
  EXPECT_NE(anthropic_error_body(invalid_argument("no"), 500).find("api_error"), std::string::npos);
}

}  // namespace
}  // namespace braid::protocol
