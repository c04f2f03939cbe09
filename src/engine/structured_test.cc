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
  std::vector<std::string> generate(StructuredOutput structured, int n = 6) {
    const auto compiler = text::make_grammar_compiler(kFolder, {kEnd}, kVocabulary);
    const auto tokenizer = text::load_tokenizer(kFolder);
    EXPECT_TRUE(compiler.ok() && tokenizer.ok());
    HarnessOptions options;
    options.model.vocabulary = kVocabulary;
    options.max_model_len = 256;
    options.eos_ids = {kEnd};
    options.grammars = compiler.value();
    Harness harness(options);
    protocol::SamplingParams params;
    params.n = n;
    params.seed = 17;
    params.max_tokens = 200;
    params.structured = std::move(structured);
    const auto id = harness.submit({5, 6, 7}, params);
    harness.run_until_idle();
    std::vector<std::string> texts;
    for (int i = 0; i < n; ++i) {
      EXPECT_EQ(harness.heard(id, i).finish, FinishReason::kStop) << harness.heard(id, i).error;
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

}  // namespace
}  // namespace braid::engine
