// SPDX-License-Identifier: Apache-2.0
#include "text/gated_matcher.h"

#include <gtest/gtest.h>

namespace braid::text {
namespace {

// A token is a byte.
class ByteTokenizer final : public Tokenizer {
 public:
  ByteTokenizer() {
    for (int i = 0; i < 128; ++i) bytes_.emplace_back(1, static_cast<char>(i));
  }
  std::vector<std::int32_t> encode(std::string_view text, bool) const override { return {text.begin(), text.end()}; }
  std::string decode(std::span<const std::int32_t> ids, bool) const override { return {ids.begin(), ids.end()}; }
  std::int32_t vocabulary_size() const override { return 128; }
  std::optional<std::int32_t> id_of(std::string_view) const override { return std::nullopt; }
  std::string token(std::int32_t id) const override { return bytes(id); }
  const std::string& bytes(std::int32_t id) const override { return bytes_[static_cast<std::size_t>(id)]; }
  bool is_special(std::int32_t) const override { return false; }
  Decoding decoding() const override { return Decoding::kBytes; }

 private:
  std::vector<std::string> bytes_;
};

// Allows one text.
class Only final : public GrammarMatcher {
 public:
  explicit Only(std::string text) : text_(std::move(text)) {}
  void fill_mask(std::span<std::uint32_t> mask) override {
    if (finished()) return;
    const auto next = static_cast<std::uint32_t>(text_[at_]);
    mask[next / 32] |= 1u << (next % 32);
  }
  bool accept(std::int32_t token) override {
    if (finished() || token != text_[at_]) return false;
    ++at_;
    return true;
  }
  bool finished() const override { return at_ == text_.size(); }
  std::unique_ptr<GrammarMatcher> clone() const override { return std::make_unique<Only>(*this); }

 private:
  std::string text_;
  std::size_t at_ = 0;
};

const auto kTokenizer = std::make_shared<ByteTokenizer>();

bool accepts(GrammarMatcher& matcher, std::string_view text) {
  for (const char c : text) {
    if (!matcher.accept(c)) return false;
  }
  return true;
}

// The characters that may come next; all: none is forbidden.
std::string allowed(GrammarMatcher& matcher) {
  std::vector<std::uint32_t> mask(4);
  matcher.fill_mask(mask);
  std::string characters;
  for (std::uint32_t c = 0; c < 128; ++c) {
    if (mask[c / 32] >> (c % 32) & 1) characters += static_cast<char>(c);
  }
  return characters.size() == 128 ? "all" : characters;
}

std::unique_ptr<GrammarMatcher> reasoning(bool open_in_prompt, std::optional<int> budget = {}, std::unique_ptr<GrammarMatcher> answer = std::make_unique<Only>("yes")) {
  return after_reasoning({"<t>", "</t>", open_in_prompt, budget}, kTokenizer, std::move(answer));
}

TEST(AfterReasoning, leaves_reasoning_free_and_rules_over_the_answer) {
  const auto matcher = reasoning(true);
  EXPECT_FALSE(matcher->restricts());
  EXPECT_TRUE(accepts(*matcher, "yes, no </t"));
  EXPECT_EQ(allowed(*matcher), "all");
  EXPECT_TRUE(accepts(*matcher, ">"));
  EXPECT_TRUE(matcher->restricts());
  EXPECT_EQ(allowed(*matcher), "y");
  EXPECT_FALSE(accepts(*matcher, "n"));
  EXPECT_TRUE(accepts(*matcher, "yes"));
  EXPECT_TRUE(matcher->finished());
}

TEST(AfterReasoning, forces_the_end_when_the_budget_is_spent) {
  const auto matcher = reasoning(true, 3);
  EXPECT_TRUE(accepts(*matcher, "abc"));
  EXPECT_EQ(allowed(*matcher), "<");
  EXPECT_FALSE(matcher->clone()->accept('d'));
  EXPECT_TRUE(accepts(*matcher, "</t>yes"));
}

TEST(AfterReasoning, a_budget_of_none_closes_it_at_once) { EXPECT_EQ(allowed(*reasoning(true, 0)), "<"); }

TEST(AfterReasoning, takes_an_answer_without_reasoning) {
  const auto matcher = reasoning(false);
  EXPECT_EQ(allowed(*matcher), "<y");
  const auto with = matcher->clone();
  EXPECT_TRUE(accepts(*with, "<t>anything</t>yes"));
  EXPECT_TRUE(accepts(*matcher, "yes"));
}

TEST(AfterReasoning, without_a_grammar_only_the_budget_counts) {
  const auto matcher = reasoning(true, 1, nullptr);
  EXPECT_TRUE(accepts(*matcher, "a"));
  EXPECT_TRUE(matcher->restricts());
  EXPECT_TRUE(accepts(*matcher, "</t>whatever"));
  EXPECT_FALSE(matcher->restricts());
  EXPECT_FALSE(matcher->finished());
}

TEST(AfterEach, rules_from_the_marker_to_the_end_of_its_section_each_time) {
  const auto matcher = after_each("[C]", kTokenizer, std::make_unique<Only>("f()"));
  for (int i = 0; i < 2; ++i) {
    EXPECT_FALSE(matcher->restricts());
    EXPECT_TRUE(accepts(*matcher, "text [C]"));
    EXPECT_EQ(allowed(*matcher), "f");
    EXPECT_FALSE(matcher->clone()->accept('x'));
    EXPECT_TRUE(accepts(*matcher, "f()"));
  }
  EXPECT_FALSE(matcher->finished());
}

}  // namespace
}  // namespace braid::text
