// SPDX-License-Identifier: Apache-2.0
// Structured output with real grammars and the default model's tokenizer: a model that babbles at
// random must still produce what was asked for.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <regex>

#include "engine/testing/harness.h"
#include "text/grammar.h"
#include "text/tokenizer.h"

namespace braid::engine {
namespace {

using protocol::FinishReason;
using protocol::StructuredOutput;
using testing::Harness;
using testing::HarnessOptions;

const std::string kFolder = BRAID_SOURCE_DIR "/models/lexicon-30m";
constexpr std::int32_t kEnd = 1;
constexpr std::int32_t kVocabulary = 4096;

class Structured : public ::testing::Test {
 protected:
  // Texts of `n` choices.
  std::vector<std::string> generate(StructuredOutput structured, int n = 6, FinishReason finish = FinishReason::kStop) {
    const auto compiler = text::make_grammar_compiler(kFolder, {kEnd}, kVocabulary);
    const auto tokenizer = text::load_tokenizer(kFolder);
    EXPECT_TRUE(compiler.ok() && tokenizer.ok());
    HarnessOptions options;
    options.model.vocabulary = kVocabulary;
    options.max_model_len = 256;
    options.eos_ids = {kEnd};
    options.grammars = compiler.value();
    options.tokenizer = tokenizer.value();
    Harness harness(options);
    protocol::SamplingParams params;
    params.n = n;
    params.seed = 17;
    params.max_tokens = 200;
    params.ignore_eos = finish == FinishReason::kLength;
    params.structured = std::move(structured);
    const auto id = harness.submit({5, 6, 7}, params);
    harness.run_until_idle();
    std::vector<std::string> texts;
    for (int i = 0; i < n; ++i) {
      EXPECT_EQ(harness.heard(id, i).finish, finish) << harness.heard(id, i).error;
      texts.push_back(tokenizer.value()->decode(harness.heard(id, i).tokens, true));
    }
    return texts;
  }
};

TEST_F(Structured, matches_a_regex) {
  for (const auto& text : generate({StructuredOutput::Kind::kRegex, "[0-9]{3}-[a-z]{2,4}"})) {
    EXPECT_TRUE(std::regex_match(text, std::regex("[0-9]{3}-[a-z]{2,4}"))) << text;
  }
}

TEST_F(Structured, is_one_of_the_choices) {
  for (const auto& text : generate({StructuredOutput::Kind::kChoice, "", {"a \"red\" fox", "grün"}})) {
    EXPECT_TRUE(text == "a \"red\" fox" || text == "grün") << text;
  }
}

TEST_F(Structured, matches_a_json_schema) {
  const char* schema = R"({"type": "object", "additionalProperties": false,
    "properties": {"ok": {"type": "boolean"}, "colour": {"enum": ["red", "green"]}},
    "required": ["ok", "colour"]})";
  for (const auto& text : generate({StructuredOutput::Kind::kJsonSchema, schema})) {
    const auto json = nlohmann::json::parse(text, nullptr, false);
    ASSERT_TRUE(json.is_object()) << text;
    EXPECT_TRUE(json["ok"].is_boolean());
    EXPECT_TRUE(json["colour"] == "red" || json["colour"] == "green") << text;
  }
}

TEST_F(Structured, matches_a_lark_grammar) {
  const char* grammar = "start: word (\" \" word)~2\nword: \"ab\" | \"cd\"\n";
  for (const auto& text : generate({StructuredOutput::Kind::kGrammar, grammar})) {
    EXPECT_TRUE(std::regex_match(text, std::regex("(ab|cd)( (ab|cd)){2}"))) << text;
  }
}

TEST_F(Structured, behind_a_trigger_follows_the_grammar_and_elsewhere_nothing) {
  int triggered = 0;
  for (std::string text : generate({StructuredOutput::Kind::kGrammar, "start: \"[zz]\"", {}, "a"}, 6, FinishReason::kLength)) {
    for (std::size_t at = text.find('a'); at != std::string::npos; at = text.find('a')) {
      const std::size_t section = text.find('[', at);
      if (section == std::string::npos) break;  // the output ended here
      EXPECT_EQ(text.substr(section, 4), std::string("[zz]").substr(0, text.size() - section)) << text;
      text.erase(0, std::min(text.size(), section + 4));
      ++triggered;
    }
  }
  EXPECT_GT(triggered, 0);
}

}  // namespace
}  // namespace braid::engine
