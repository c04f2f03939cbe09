// SPDX-License-Identifier: Apache-2.0
// Whatever the grammar of a format allows, its parser reads as calls that fit the tools.
#include "parse/call_grammar.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "parse/parser.h"
#include "text/grammar.h"
#include "text/tokenizer.h"

namespace braid::parse {
namespace {

using Json = nlohmann::ordered_json;

const std::string kModel = BRAID_SOURCE_DIR "/models/lexicon-30m";
constexpr std::int32_t kEnd = 1;
constexpr std::int32_t kVocabulary = 4096;

const Json kTools = Json::parse(R"json([
  {"type": "function", "function": {"name": "find_word", "parameters": {"type": "object", "additionalProperties": false,
    "properties": {"count": {"type": "integer", "minimum": 0, "maximum": 999}, "kind": {"enum": ["noun", "verb"], "type": "string"},
                   "note": {"type": "string", "maxLength": 6}, "exact": {"type": "boolean"}},
    "required": ["count", "note"]}}},
  {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}, "additionalProperties": false}}}])json");

// Follows a grammar at random, but writes one of `endings` now and then, so that texts come to an end.
class Walker {
 public:
  Walker(const text::Tokenizer& tokenizer, std::vector<std::string> endings, unsigned seed)
      : tokenizer_(tokenizer), endings_(std::move(endings)), random_(seed) {}

  std::string walk(text::GrammarMatcher& matcher) {
    for (int steps = 0; steps < 3000 && !over_; ++steps) {
      if (!endings_.empty() && random_() % 8 == 0) write(endings_[random_() % endings_.size()], matcher);
      else step(matcher);
    }
    EXPECT_TRUE(over_) << text_;
    return text_;
  }

 private:
  void write(const std::string& text, text::GrammarMatcher& matcher) {
    for (const std::int32_t token : tokenizer_.encode(text, false)) {
      if (!matcher.accept(token)) return;
      text_ += tokenizer_.bytes(token);
    }
  }
  void step(text::GrammarMatcher& matcher) {
    std::vector<std::uint32_t> mask((kVocabulary + 31) / 32);
    matcher.fill_mask(mask);
    std::vector<std::int32_t> allowed;
    for (std::int32_t t = 0; t < kVocabulary; ++t) {
      if (mask[static_cast<std::size_t>(t / 32)] >> (t % 32) & 1) allowed.push_back(t);
    }
    ASSERT_FALSE(allowed.empty());
    const bool may_end = mask[kEnd / 32] >> (kEnd % 32) & 1;
    const std::int32_t token = may_end ? kEnd : allowed[random_() % allowed.size()];
    over_ = token == kEnd;
    ASSERT_TRUE(matcher.accept(token));
    if (!over_) text_ += tokenizer_.bytes(token);
    over_ = over_ || matcher.finished();
  }

  const text::Tokenizer& tokenizer_;
  const std::vector<std::string> endings_;
  std::mt19937 random_;
  std::string text_;
  bool over_ = false;
};

class CallGrammar : public testing::TestWithParam<std::string> {
 protected:
  CallRules rules(std::string_view only = {}) {
    return {.format = format_, .tools = tools_, .only = only, .parallel = true,
            .token_of = [](std::string_view) { return std::optional<std::int32_t>(); }};
  }
  std::unique_ptr<text::GrammarMatcher> compiled(const std::string& grammar) {
    auto matcher = compiler_->compile(text::GrammarKind::kGrammar, grammar);
    EXPECT_TRUE(matcher.ok()) << matcher.error().message << "\n" << grammar;
    return matcher.ok() ? std::move(*matcher) : nullptr;
  }
  Delta parsed(const std::string& text) {
    Request request;
    request.types = ToolTypes(tools_);
    const auto parser = make_parser({format_, ""}, request);
    Delta delta = (*parser)->push(text);
    append(delta, (*parser)->finish(false));
    return delta;
  }
  static void expect_fits(const CallDelta& call) {
    const Json arguments = Json::parse(call.arguments, nullptr, false);
    ASSERT_TRUE(arguments.is_object()) << call.arguments;
    if (call.name == "now") {
      EXPECT_TRUE(arguments.empty()) << call.arguments;
      return;
    }
    ASSERT_EQ(call.name, "find_word");
    ASSERT_TRUE(arguments.contains("count") && arguments["count"].is_number_integer()) << call.arguments;
    EXPECT_LE(arguments["count"].get<int>(), 999);
    EXPECT_TRUE(arguments.contains("note") && arguments["note"].is_string()) << call.arguments;
    const Json kind = arguments.value("kind", Json("noun"));
    EXPECT_TRUE(kind == "noun" || kind == "verb") << call.arguments;
    EXPECT_TRUE(arguments.value("exact", Json(true)).is_boolean()) << call.arguments;
  }

  const std::string format_ = GetParam();
  const std::string tools_ = kTools.dump();
  const std::shared_ptr<const text::Tokenizer> tokenizer_ = *text::load_tokenizer(kModel);
  const std::shared_ptr<const text::GrammarCompiler> compiler_ = *text::make_grammar_compiler(kModel, {kEnd}, kVocabulary);
  const std::vector<std::string> endings_ = {"\n</parameter>\n", "</arg_value>\n", "</｜DSML｜parameter>\n", "\""};
};

TEST_P(CallGrammar, allows_only_what_the_parser_reads_as_calls_that_fit) {
  const auto grammar = call_grammar(rules());
  ASSERT_TRUE(grammar.ok()) << grammar.error().message;
  const auto matcher = compiled(*grammar);
  ASSERT_TRUE(matcher);
  for (unsigned seed = 0; seed < 12; ++seed) {
    const std::string text = Walker(*tokenizer_, endings_, seed).walk(*matcher->clone());
    SCOPED_TRACE(text);
    const Delta answer = parsed(text);
    EXPECT_EQ(answer.content, "");
    ASSERT_FALSE(answer.calls.empty());
    for (const CallDelta& call : answer.calls) expect_fits(call);
  }
}

TEST_P(CallGrammar, of_a_named_tool_allows_one_call_of_it) {
  const auto grammar = call_grammar(rules("now"));
  ASSERT_TRUE(grammar.ok());
  const std::string text = Walker(*tokenizer_, {}, 1).walk(*compiled(*grammar));
  const Delta answer = parsed(text);
  ASSERT_EQ(answer.calls.size(), 1u) << text;
  EXPECT_EQ(answer.calls[0].name, "now");
  EXPECT_EQ(Json::parse(answer.calls[0].arguments), Json::object());
}

TEST_P(CallGrammar, of_strict_tools_is_complete_behind_its_trigger) {
  const auto strict = strict_call_grammar(rules());
  ASSERT_TRUE(strict.ok());
  if (!*strict) return;  // the format has no marker
  const auto matcher = compiled((*strict)->grammar);
  ASSERT_TRUE(matcher);
}

INSTANTIATE_TEST_SUITE_P(Formats, CallGrammar,
                         testing::Values("hermes", "deepseek_v3", "deepseek_v31", "deepseek_v32", "deepseek_v4", "kimi_k2", "openai", "mistral",
                                         "llama3_json", "llama4_json", "llama4_pythonic", "pythonic", "json_list", "qwen3_coder", "qwen3_xml",
                                         "glm45", "glm47"),
                         [](const auto& format) { return format.param; });

TEST(CallGrammars, know_which_tools_are_strict) {
  EXPECT_FALSE(any_strict(kTools.dump()));
  Json strict = kTools;
  strict[1]["function"]["strict"] = true;
  EXPECT_TRUE(any_strict(strict.dump()));
}

TEST(CallGrammars, name_markers_by_their_token) {
  const CallRules rules{.format = "hermes", .tools = R"([{"function": {"name": "f"}}])", .only = {}, .parallel = true,
                        .token_of = [](std::string_view marker) { return marker == "<tool_call>" ? std::optional(77) : std::nullopt; }};
  const auto grammar = call_grammar(rules);
  EXPECT_NE(grammar->find("start: <[77]> call"), std::string::npos) << *grammar;
}

}  // namespace
}  // namespace braid::parse
