// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "protocol/json_text.h"
#include "protocol/request.h"

namespace braid::protocol {
namespace {

std::string param_of(const std::string& body) {
  const auto parsed = parse_chat(body, {}, true);
  return parsed.ok() ? "" : parsed.error().param;
}

const std::string kMessages = R"("messages":[{"role":"user","content":"hi"}])";

TEST(ParseChat, ReadsSamplingFieldsOverDefaults) {
  const auto c = parse_chat("{" + kMessages + R"(,"temperature":0.5,"top_k":-1,"stop":"x","max_completion_tokens":7,"logprobs":true,"top_logprobs":3,"unknown":1})",
                            read_defaults(R"({"top_p":0.9,"temperature":0.1,"top_k":"many"})"), true);
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_FLOAT_EQ(c->sampling.temperature, 0.5f);
  EXPECT_FLOAT_EQ(c->sampling.top_p, 0.9f);
  EXPECT_EQ(c->sampling.top_k, -1);
  EXPECT_EQ(c->sampling.stop, std::vector<std::string>{"x"});
  EXPECT_EQ(c->max_tokens, 7);
  EXPECT_EQ(c->sampling.logprobs, 3);
}

TEST(ParseChat, NamesTheMisshapenField) {
  EXPECT_EQ(param_of("{}"), "body.messages");
  EXPECT_EQ(param_of("[]"), "body");
  EXPECT_EQ(param_of("{\"a\" 1}"), "body.5");
  EXPECT_EQ(param_of("{" + kMessages + R"(,"temperature":"warm"})"), "body.temperature");
  EXPECT_EQ(param_of("{" + kMessages + R"(,"stop":["a",1]})"), "body.stop");
  EXPECT_EQ(param_of("{" + kMessages + R"(,"logit_bias":{"7":"x"}})"), "body.logit_bias.7");
  EXPECT_EQ(param_of(R"({"messages":[{"content":"x"}]})"), "body.messages.0.ChatCompletionDeveloperMessageParam.role");
}

TEST(ParseChat, NamesTheFieldOfABrokenRule) {
  EXPECT_EQ(param_of("{" + kMessages + R"(,"stream_options":{"include_usage":true}})"), "stream_options");
  EXPECT_EQ(param_of("{" + kMessages + R"(,"top_logprobs":1})"), "top_logprobs");
  EXPECT_EQ(param_of("{" + kMessages + R"(,"tool_choice":"auto"})"), "tool_choice");
  EXPECT_EQ(param_of("{" + kMessages + R"(,"logit_bias":{"x":1}})"), "logit_bias");
  EXPECT_EQ(param_of("{" + kMessages + R"(,"response_format":{"type":"json_schema"}})"), "response_format");
}

TEST(ParseChat, ABrokenRuleInsideAFieldWinsOverMisshapenOnes) {
  EXPECT_EQ(param_of("{" + kMessages + R"(,"temperature":"warm","thinking_token_budget":-2})"), "thinking_token_budget");
}

TEST(ParseChat, MakesContentsWhatTheTemplateExpects) {
  const std::string body = R"({"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}]}]})";
  EXPECT_EQ(parse_chat(body, {}, true)->messages,
            R"([{"role":"user","content":"a\nb"},{"role":"assistant","content":"","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":{"x":1}}}]}])");
}

TEST(ParseChat, ReasoningEffortReachesTheTemplate) {
  EXPECT_EQ(parse_chat("{" + kMessages + R"(,"reasoning_effort":"none"})", {}, true)->template_kwargs,
            R"({"reasoning_effort":"none","enable_thinking":false})");
}

TEST(ParseCompletion, TakesTextsTokensAndListsOfBoth) {
  EXPECT_EQ(parse_completion(R"({"prompt":"a"})", {})->prompts.size(), 1u);
  EXPECT_EQ(parse_completion(R"({"prompt":["a","b"]})", {})->prompts.size(), 2u);
  EXPECT_EQ(parse_completion(R"({"prompt":[1,2]})", {})->prompts[0].ids, (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(parse_completion(R"({"prompt":[[1],[2,3]]})", {})->prompts.size(), 2u);
  EXPECT_EQ(parse_completion(R"({"prompt":["1","2"]})", {})->prompts[1].text, "2");
  EXPECT_TRUE(parse_completion(R"({"prompt":[]})", {})->prompts[0].ids.empty());
  EXPECT_EQ(parse_completion(R"({"prompt":[-1]})", {}).error().param, "body.prompt.0");
  EXPECT_EQ(parse_completion(R"({"prompt":"a"})", {})->max_tokens, 16);
}

TEST(Fit, ReadsLooselyWrittenValues) {
  const auto c = parse_completion(R"({"prompt":"a","stream":"Yes","n":" +1_0 ","max_tokens":3.0,"temperature":"1e-1","echo":1,"seed":true})", {});
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_TRUE(c->stream && c->echo);
  EXPECT_EQ(c->sampling.n, 10);
  EXPECT_EQ(c->max_tokens, 3);
  EXPECT_FLOAT_EQ(c->sampling.temperature, 0.1f);
  EXPECT_EQ(c->sampling.seed, 1);
  for (const char* field : {R"("stream":"perhaps")", R"("n":1.5)", R"("n":"1e3")", R"("temperature":"")", R"("stop":1)", R"("echo":2)"}) {
    EXPECT_FALSE(parse_completion(std::string(R"({"prompt":"a",)") + field + "}", {}).ok()) << field;
  }
}

TEST(Fit, IntegersKeepTheirValueUpToTheirBounds) {
  const auto seed = [](const std::string& text) { return parse_completion(R"({"prompt":"a","seed":)" + text + "}", {}); };
  EXPECT_EQ(seed("9223372036854775807")->sampling.seed, INT64_MAX);
  EXPECT_EQ(seed("-9223372036854775808")->sampling.seed, INT64_MIN);
  EXPECT_EQ(seed("5.0")->sampling.seed, 5);
  for (const char* wrong : {"9223372036854775808", "9223372036854775808.0", "1e300", "5.5", "\"x\"", "\"-9223372036854775809\""}) {
    EXPECT_EQ(seed(wrong).error().param, "body.seed") << wrong;
  }
}

TEST(SamplingFor, TemperatureZeroMeansGreedy) {
  CommonRequest request;
  request.sampling.temperature = 0;
  request.sampling.top_k = 5;
  request.sampling.top_p = 0.5f;
  const auto s = sampling_for(request, 9);
  EXPECT_EQ(s->top_k, 0);
  EXPECT_EQ(s->top_p, 1.0f);
  EXPECT_EQ(s->max_tokens, 9);
  request.sampling.n = 2;
  EXPECT_FALSE(sampling_for(request, 9).ok());
}

TEST(SamplingFor, TheRestOfTheContextBoundsMinTokens) {
  CommonRequest request;
  request.sampling.min_tokens = 10;
  EXPECT_TRUE(sampling_for(request, 10).ok());
  EXPECT_FALSE(sampling_for(request, 9).ok());
}

TEST(Protocol, RefusesWhatIsNestedTooDeep) {
  EXPECT_FALSE(parse_chat(std::string(100000, '['), {}, true).ok());
  EXPECT_EQ(param_of("{\"a\":" + std::string(5000, '[') + std::string(5000, ']') + "}"), "body");
}

TEST(Protocol, ArgumentsNestedTooDeepStayText) {
  const std::string deep = R"({\"x\":)" + std::string(2'000'000, '[') + std::string(2'000'000, ']') + "}";
  const auto c = parse_chat(R"({"messages":[{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":")" + deep + "\"}}]}]}", {}, true);
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_NE(c->messages.find(deep.substr(0, 20)), std::string::npos);
}

TEST(JsonText, EscapesWhatJsonCannotHold) {
  std::string out;
  append_json_string(out, std::string("a\"\\\n\x01ü", 7));
  EXPECT_EQ(out, "\"a\\\"\\\\\\n\\u0001ü\"");
}

}  // namespace
}  // namespace braid::protocol
