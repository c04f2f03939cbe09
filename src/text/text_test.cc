// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <regex>
#include <sstream>

#include "text/chat_template.h"
#include "text/detokenizer.h"
#include "text/grammar.h"
#include "text/render_lines.h"
#include "text/tokenizer.h"
#include "text/utf8.h"
#include "text/yaml.h"

namespace braid::text {
namespace {

const std::string kModel = std::string(BRAID_SOURCE_DIR) + "/models/lexicon-30m";

std::shared_ptr<const Tokenizer> tokenizer() {
  auto loaded = load_tokenizer(kModel);
  EXPECT_TRUE(loaded.ok());
  return *loaded;
}

TEST(Tokenizer, RoundTripsTextOfManyKinds) {
  const auto t = tokenizer();
  for (const std::string text : {"What is a river?", "", "  spaces\n\n\ttabs", "Grüße, 世界 🌍!", "1234567"}) {
    EXPECT_EQ(t->decode(t->encode(text, false), false), text);
  }
  EXPECT_EQ(t->id_of("<｜User｜>"), 3);
  EXPECT_TRUE(t->is_special(3));
  EXPECT_EQ(t->encode("<｜User｜>", false), std::vector<std::int32_t>{3});
  EXPECT_EQ(t->vocabulary_size(), 4096);
}

TEST(Tokenizer, NamesTheFileThatIsWrong) {
  const auto missing = load_tokenizer("/nonexistent");
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.error().message.find("/nonexistent"), std::string::npos);
  const auto wrong = load_tokenizer(kModel + "/config.json");
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.error().message.find("config.json"), std::string::npos);
}

TEST(Detokenizer, GivesTheSameTextForEverySplit) {
  const auto t = tokenizer();
  const std::string text = "Grüße, 世界 🌍! naïve";
  const auto ids = t->encode(text, false);
  for (std::size_t cut = 0; cut <= ids.size(); ++cut) {
    Detokenizer d(t, true);
    std::string got = d.append(std::span(ids).first(cut));
    got += d.append(std::span(ids).subspan(cut));
    EXPECT_EQ(got + d.finish(), text);
  }
  Detokenizer d(t, true);
  std::string got;
  for (auto id : ids) {
    const std::string piece = d.append(std::span(&id, 1));
    std::string valid;
    EXPECT_EQ(decode_utf8(piece, valid), piece.size());
    EXPECT_EQ(valid, piece);
    got += piece;
  }
  EXPECT_EQ(got, text);
}

TEST(Detokenizer, SkipsSpecialTokensWhenAsked) {
  const auto t = tokenizer();
  auto ids = t->encode("hi", false);
  ids.push_back(1);
  EXPECT_EQ(Detokenizer(t, true).append(ids), "hi");
  EXPECT_EQ(Detokenizer(t, false).append(ids), "hi<｜end▁of▁sentence｜>");
}

TEST(Utf8, ReplacesWhatCanNeverBecomeValidAndKeepsWhatMay) {
  std::string out;
  EXPECT_EQ(decode_utf8("a\xE4\xB8", out), 1u);
  EXPECT_EQ(out, "a");
  out.clear();
  EXPECT_EQ(decode_utf8("\xE4\x41\xFF", out), 3u);
  EXPECT_EQ(out, "\xEF\xBF\xBD" "A\xEF\xBF\xBD");
  out.clear();
  EXPECT_EQ(decode_utf8("\xED\xA0\x80", out), 3u);
  EXPECT_EQ(out, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(RenderLines, WritesOneLineWhateverTheTextHolds) {
  std::istringstream in("{\"messages\":[{\"role\":\"user\",\"content\":\"a\u2028b\u0085c\"}]}\n");
  std::ostringstream out;
  ASSERT_TRUE(render_lines(kModel, in, out).ok());
  const std::string line = out.str();
  EXPECT_TRUE(std::all_of(line.begin(), line.end(), [](unsigned char c) { return c < 0x80; })) << line;
  const auto rendered = nlohmann::json::parse(line)["rendered"].get<std::string>();
  EXPECT_NE(rendered.find("a\u2028b\u0085c"), std::string::npos);
}

TEST(RenderLines, GoesOnAfterABadLine) {
  std::istringstream in("{\n{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"variables\":{}}\n");
  std::ostringstream out;
  ASSERT_TRUE(render_lines(kModel, in, out).ok());
  std::istringstream lines(out.str());
  std::string first, second;
  std::getline(lines, first);
  std::getline(lines, second);
  EXPECT_TRUE(nlohmann::json::parse(first).contains("error"));
  EXPECT_EQ(nlohmann::json::parse(second)["rendered"], "<｜begin▁of▁sentence｜><｜User｜>hi");
}

// Samples allowed tokens at random until the grammar ends.
std::string random_output(const GrammarCompiler& compiler, GrammarKind kind, const std::string& text, unsigned seed) {
  auto matcher = compiler.compile(kind, text);
  EXPECT_TRUE(matcher.ok()) << matcher.error().message;
  const auto t = tokenizer();
  std::mt19937 random(seed);
  std::vector<std::uint32_t> mask(4096 / 32);
  std::vector<std::int32_t> output;
  for (int step = 0; step < 400; ++step) {
    (*matcher)->fill_mask(mask);
    std::vector<std::int32_t> allowed;
    for (std::int32_t id = 0; id < 4096; ++id) {
      if (mask[static_cast<std::size_t>(id / 32)] >> (id % 32) & 1) allowed.push_back(id);
    }
    EXPECT_FALSE(allowed.empty());
    const bool can_end = mask[0] >> 1 & 1;
    const std::int32_t next = can_end ? 1 : allowed[random() % allowed.size()];
    EXPECT_TRUE((*matcher)->accept(next));
    if (next == 1) return t->decode(output, true);
    output.push_back(next);
  }
  return t->decode(output, true);
}

TEST(Grammar, AMaskedWalkMatches) {
  const auto compiler = make_grammar_compiler(kModel, {1}, 4096);
  ASSERT_TRUE(compiler.ok()) << compiler.error().message;
  for (unsigned seed = 0; seed < 5; ++seed) {
    const std::string schema = R"({"type":"object","properties":{"ok":{"type":"boolean"},"n":{"enum":[1,2]}},"required":["ok","n"],"additionalProperties":false})";
    const auto json = nlohmann::json::parse(random_output(**compiler, GrammarKind::kJsonSchema, schema, seed), nullptr, false);
    ASSERT_TRUE(json.is_object());
    EXPECT_TRUE(json["ok"].is_boolean());
    EXPECT_TRUE(std::regex_match(random_output(**compiler, GrammarKind::kRegex, "[ab]{3}-[0-9]{2}", seed), std::regex("[ab]{3}-[0-9]{2}")));
    const std::string choice = random_output(**compiler, GrammarKind::kChoice, R"(["red","green"])", seed);
    EXPECT_TRUE(choice == "red" || choice == "green") << choice;
    const std::string gbnf = random_output(**compiler, GrammarKind::kGrammar, "root ::= the-word \"!\"\nthe-word ::= \"yes\" | \"no\" # answer", seed);
    EXPECT_TRUE(gbnf == "yes!" || gbnf == "no!") << gbnf;
  }
}

TEST(Grammar, RefusesWhatIsNoGrammarAndTokensThatDoNotFit) {
  const auto compiler = make_grammar_compiler(kModel, {1}, 4096);
  EXPECT_FALSE((*compiler)->compile(GrammarKind::kRegex, "(").ok());
  EXPECT_FALSE((*compiler)->compile(GrammarKind::kJsonSchema, "{").ok());
  EXPECT_FALSE((*compiler)->compile(GrammarKind::kChoice, "[]").ok());
  auto matcher = (*compiler)->compile(GrammarKind::kChoice, R"(["a"])");
  const auto wrong = tokenizer()->encode("b", false);
  EXPECT_FALSE((*matcher)->accept(wrong[0]));
  EXPECT_FALSE((*matcher)->accept(1));
  auto copy = (*matcher)->clone();
  EXPECT_TRUE((*matcher)->accept(tokenizer()->encode("a", false)[0]));
  EXPECT_TRUE((*matcher)->finished());
  EXPECT_FALSE(copy->finished());
}

TEST(Yaml, BecomesJsonInOrder) {
  EXPECT_EQ(*yaml_to_json("b: 1\na: [x, 2.5, true]\n"), R"({"b":1,"a":["x",2.5,true]})");
  EXPECT_FALSE(yaml_to_json("a: [").ok());
}

// Mutated inputs must be refused or handled, never crash.
TEST(TextFuzz, MutatedInputsNeverCrash) {
  std::mt19937 random(7);
  const std::string seeds[] = {
      "{% for m in messages %}{{ m['content'] + bos_token }}{% endfor %}{% if x is defined %}{{ x|tojson }}{% endif %}",
      R"([{"role":"user","content":"hi","tool_calls":[{"function":{"name":"f","arguments":{"a":1.5}}}]}])",
      "a: [1, {b: c}]\nd: &x 1\ne: *x\n"};
  for (int round = 0; round < 2000; ++round) {
    std::string text = seeds[round % 3];
    for (int edits = 1 + static_cast<int>(random() % 4); edits > 0 && !text.empty(); --edits) {
      const std::size_t at = random() % text.size();
      if (random() % 2) text[at] = static_cast<char>(random() % 127 + 1);
      else text.erase(at, random() % 5);
    }
    RenderInput input;
    if (round % 3 == 0) {
      const auto chat = compile_template(text, R"({"bos_token":"<s>"})");
      input.messages = seeds[1];
      if (chat.ok()) (void)(*chat)->render(input);
    } else if (round % 3 == 1) {
      input.messages = text;
      (void)(*compile_template(seeds[0]))->render(input);
    } else {
      (void)yaml_to_json(text);
    }
  }
}

}  // namespace
}  // namespace braid::text
