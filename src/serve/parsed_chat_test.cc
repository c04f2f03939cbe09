// SPDX-License-Identifier: Apache-2.0
// Chats whose answers are parsed for reasoning and tool calls.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "serve/testing/server_fixture.h"

namespace braid::serve {
namespace {

using Json = nlohmann::ordered_json;

// Every token is the same text; a prompt has one token per character.
class OneWordTokenizer final : public text::Tokenizer {
 public:
  explicit OneWordTokenizer(std::string word) : word_(std::move(word)) {}
  std::vector<std::int32_t> encode(std::string_view text, bool) const override { return std::vector<std::int32_t>(text.size(), 1); }
  std::string decode(std::span<const std::int32_t> ids, bool) const override {
    std::string text;
    for (std::size_t i = 0; i < ids.size(); ++i) text += word_;
    return text;
  }
  std::int32_t vocabulary_size() const override { return 64; }
  std::optional<std::int32_t> id_of(std::string_view) const override { return std::nullopt; }
  std::string token(std::int32_t) const override { return word_; }
  const std::string& bytes(std::int32_t) const override { return word_; }
  bool is_special(std::int32_t) const override { return false; }
  text::Decoding decoding() const override { return text::Decoding::kBytes; }

 private:
  const std::string word_;
};

class ParsedChatTest : public testing::ServerFixture {
 protected:
  void start(const std::string& word, const Settings& settings) {
    ServerFixture::start({.model = {.vocabulary = 64},
                          .tokenizer = std::make_shared<OneWordTokenizer>(word),
                          .chat_template = *text::compile_template("{% for m in messages %}{{ m.content }}{% endfor %}"),
                          .max_model_len = 200,
                          .settings = settings});
  }

  std::string ask(const std::string& prompt, int tokens, Json fields = Json::object()) {
    Json body = {{"messages", {{{"role", "user"}, {"content", prompt}}}}, {"max_tokens", tokens}, {"ignore_eos", true}};
    body.update(fields);
    const auto response = fetch({.method = "POST", .target = "/v1/chat/completions", .body = body.dump()});
    EXPECT_EQ(response.status, 200) << response.body;
    return response.body;
  }

  Json message(const std::string& prompt, int tokens, const Json& fields = Json::object()) {
    return Json::parse(ask(prompt, tokens, fields))["choices"][0]["message"];
  }

  // The deltas of a stream.
  std::vector<Json> deltas(const std::string& prompt, int tokens, Json fields = Json::object()) {
    fields["stream"] = true;
    std::istringstream lines(ask(prompt, tokens, fields));
    std::vector<Json> found;
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("data: {")) found.push_back(Json::parse(line.substr(6))["choices"][0]["delta"]);
    }
    return found;
  }
};

const Json kTools = {{"tools", {{{"type", "function"}, {"function", {{"name", "f"}, {"parameters", Json::object()}}}}}}};

Settings with_tools() {
  Settings settings;
  settings.enable_auto_tool_choice = true;
  settings.tool_call_parser = "pythonic";
  return settings;
}

TEST_F(ParsedChatTest, reasoning_is_a_field_of_its_own_whole_and_streamed) {
  Settings settings;
  settings.reasoning_parser = "qwen3";
  start("a", settings);
  const Json whole = message("x<think>", 3);
  EXPECT_EQ(whole["reasoning"], "aaa");
  EXPECT_TRUE(whole["content"].is_null());
  std::string reasoning;
  for (const Json& delta : deltas("x<think>", 3)) reasoning += delta.value("reasoning", "");
  EXPECT_EQ(reasoning, "aaa");
  EXPECT_EQ(message("x<think></think>", 3)["content"], "aaa");
}

TEST_F(ParsedChatTest, calls_have_an_id_a_name_and_arguments_whole_and_streamed) {
  start("[f(a=1)]", with_tools());
  const Json whole = message("x", 1, kTools);
  ASSERT_EQ(whole["tool_calls"].size(), 1u) << whole;
  EXPECT_EQ(whole["tool_calls"][0]["type"], "function");
  EXPECT_NE(whole["tool_calls"][0]["id"], "");
  EXPECT_EQ(whole["tool_calls"][0]["function"], (Json{{"name", "f"}, {"arguments", "{\"a\": 1}"}}));
  EXPECT_TRUE(whole["content"].is_null());
  const Json last = deltas("x", 1, kTools).back();
  ASSERT_TRUE(last.contains("tool_calls")) << last;
  EXPECT_EQ(last["tool_calls"][0]["index"], 0);
  EXPECT_EQ(last["tool_calls"][0]["function"], whole["tool_calls"][0]["function"]);
}

TEST_F(ParsedChatTest, an_answer_that_ends_with_a_call_says_so) {
  start("[f(a=1)].", with_tools());
  Json fields = kTools;
  fields["stop"] = ".";
  EXPECT_EQ(Json::parse(ask("x", 3, fields))["choices"][0]["finish_reason"], "tool_calls");
}

TEST_F(ParsedChatTest, without_tools_in_the_request_nothing_is_a_call) {
  start("[f(a=1)]", with_tools());
  EXPECT_EQ(message("x", 1)["content"], "[f(a=1)]");
}

TEST(ParserSettings, that_name_no_parser_are_refused_at_start) {
  Settings settings;
  settings.reasoning_parser = "qwen4";
  const auto server = Server::start({}, settings);
  ASSERT_FALSE(server.ok());
  EXPECT_EQ(server.error().param, "reasoning-parser");
}

}  // namespace
}  // namespace braid::serve
