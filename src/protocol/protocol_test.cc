// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "protocol/json_text.h"
#include "protocol/request.h"

namespace braid::protocol {
namespace {

std::string param_of(const std::string& body) {
  const auto parsed = parse_chat(body, "{}", true);
  return parsed.ok() ? "" : parsed.error().param;
}

const std::string kMessages = R"("messages":[{"role":"user","content":"hi"}])";

TEST(ParseChat, ReadsSamplingFieldsOverDefaults) {
  const auto c = parse_chat("{" + kMessages + R"(,"temperature":0.5,"top_k":-1,"stop":"x","max_completion_tokens":7,"logprobs":true,"top_logprobs":3,"unknown":1})",
                            R"({"top_p":0.9,"temperature":0.1})", true);
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_FLOAT_EQ(c->sampling.temperature, 0.5f);
  EXPECT_FLOAT_EQ(c->sampling.top_p, 0.9f);
  EXPECT_EQ(c->sampling.top_k, 0);
  EXPECT_EQ(c->sampling.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(c->max_tokens, 7);
  EXPECT_EQ(c->sampling.logprobs, 3);
}

TEST(ParseChat, NamesTheWrongField) {
  EXPECT_EQ(param_of("{}"), "messages");
  EXPECT_EQ(param_of("{" + kMessages + R"(,"temperature":-1})"), "temperature");
  EXPECT_EQ(param_of("{" + kMessages + R"(,"top_p":0})"), "top_p");
  EXPECT_EQ(param_of("{" + kMessages + R"(,"n":2,"temperature":0})"), "n");
  EXPECT_EQ(param_of("{" + kMessages + R"(,"stream_options":{"include_usage":true}})"), "stream_options");
  EXPECT_EQ(param_of("{" + kMessages + R"(,"response_format":{"type":"xml"}})"), "response_format");
  EXPECT_EQ(param_of("{" + kMessages + R"(,"response_format":{"type":1}})"), "response_format");
  EXPECT_EQ(param_of("{" + kMessages + R"(,"structured_outputs":{"regex":"a","choice":["b"]}})"), "structured_outputs");
  EXPECT_EQ(param_of("{" + kMessages + R"(,"logit_bias":{"x":1}})"), "logit_bias");
  EXPECT_EQ(param_of(R"({"messages":[{"content":"x"}]})"), "messages");
}

TEST(ParseChat, MakesContentsWhatTheTemplateExpects) {
  const std::string body = R"({"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":null,"tool_calls":[{"function":{"name":"f","arguments":"{\"x\":1}"}}]}]})";
  EXPECT_EQ(parse_chat(body, "", true)->messages,
            R"([{"role":"user","content":"a\nb"},{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"x":1}}}]}])");
}

TEST(ParseCompletion, TakesTextsTokensAndListsOfBoth) {
  EXPECT_EQ(parse_completion(R"({"prompt":"a"})", "")->prompts.size(), 1u);
  EXPECT_EQ(parse_completion(R"({"prompt":["a","b"]})", "")->prompts.size(), 2u);
  EXPECT_EQ(parse_completion(R"({"prompt":[1,2]})", "")->prompts[0].ids, (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(parse_completion(R"({"prompt":[[1],[2,3]]})", "")->prompts.size(), 2u);
  EXPECT_EQ(parse_completion(R"({"prompt":[]})", "").error().param, "prompt");
  EXPECT_EQ(parse_completion(R"({"prompt":[-1]})", "").error().param, "prompt");
  EXPECT_EQ(parse_completion(R"({"prompt":"a"})", "")->max_tokens, 16);
}

TEST(Protocol, RefusesWhatIsNestedTooDeep) {
  EXPECT_FALSE(parse_chat(std::string(100000, '['), "", true).ok());
  EXPECT_FALSE(parse_chat("{\"a\":" + std::string(5000, '[') + std::string(5000, ']') + "}", "", true).ok());
}

TEST(Protocol, ArgumentsNestedTooDeepStayText) {
  const std::string deep = R"({\"x\":)" + std::string(2'000'000, '[') + std::string(2'000'000, ']') + "}";
  const auto c = parse_chat(R"({"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":")" + deep + "\"}}]}]}", "", true);
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_NE(c->messages.find(deep.substr(0, 20)), std::string::npos);
}

TEST(Protocol, IntegersKeepTheirValueUpToTheirBounds) {
  const auto seed = [](const std::string& text) { return parse_completion(R"({"prompt":"a","seed":)" + text + "}", ""); };
  EXPECT_EQ(seed("9223372036854775807")->sampling.seed, INT64_MAX);
  EXPECT_EQ(seed("-9223372036854775808")->sampling.seed, INT64_MIN);
  EXPECT_EQ(seed("5.0")->sampling.seed, 5);
  for (const char* wrong : {"9223372036854775808", "9223372036854775808.0", "1e300", "5.5", "\"5\"", "true"}) {
    EXPECT_EQ(seed(wrong).error().param, "seed") << wrong;
  }
}

TEST(JsonText, EscapesWhatJsonCannotHold) {
  std::string out;
  append_json_string(out, std::string("a\"\\\n\x01ü", 7));
  EXPECT_EQ(out, "\"a\\\"\\\\\\n\\u0001ü\"");
}

}  // namespace
}  // namespace braid::protocol
