// SPDX-License-Identifier: Apache-2.0
#include "text/grammar.h"

#include "text/core.h"
#include "text/tokenizer_file.h"

namespace braid::text {
namespace {

constexpr std::size_t kMostForced = 16;

struct Freer {
  void operator()(BraidGrammars* handle) const { braid_grammars_free(handle); }
  void operator()(BraidGrammar* handle) const { braid_grammar_free(handle); }
};

class CoreMatcher final : public GrammarMatcher {
 public:
  explicit CoreMatcher(BraidGrammar* handle) : handle_(handle) {}

  void fill_mask(std::span<std::uint32_t> mask) override {
    braid_grammar_mask(handle_.get(), mask.data(), mask.size());
  }
  bool accept(std::int32_t token) override {
    return token >= 0 && braid_grammar_accept(handle_.get(), static_cast<std::uint32_t>(token));
  }
  bool finished() const override { return braid_grammar_finished(handle_.get()); }
  void look_ahead(std::span<const std::int32_t> drafts, std::size_t words, std::vector<std::uint32_t>& masks) override {
    const std::size_t before = masks.size();
    masks.resize(before + (drafts.size() + 1) * words);
    const std::size_t count = braid_grammar_look_ahead(handle_.get(), reinterpret_cast<const std::uint32_t*>(drafts.data()), drafts.size(),
                                                       masks.data() + before, words);
    masks.resize(before + count * words);
  }
  std::vector<std::int32_t> forced() override {
    std::vector<std::int32_t> tokens(kMostForced);
    tokens.resize(braid_grammar_forced(handle_.get(), reinterpret_cast<std::uint32_t*>(tokens.data()), tokens.size()));
    return tokens;
  }
  std::unique_ptr<GrammarMatcher> clone() const override {
    BraidGrammar* copy = nullptr;
    BraidBytes out{};
    const int failed = braid_grammar_clone(handle_.get(), &copy, &out);
    const std::string message = take(out);
    CHECK(!failed, message);
    return std::make_unique<CoreMatcher>(copy);
  }

 private:
  std::unique_ptr<BraidGrammar, Freer> handle_;
};

class CoreCompiler final : public GrammarCompiler {
 public:
  explicit CoreCompiler(BraidGrammars* handle) : handle_(handle) {}

  Result<std::unique_ptr<GrammarMatcher>> compile(GrammarKind kind, const std::string& text) const override {
    BraidGrammar* state = nullptr;
    BraidBytes out{};
    const int failed = braid_grammar_compile(handle_.get(), static_cast<int>(kind), as_text(text), &state, &out);
    const std::string message = take(out);
    if (failed) return invalid_argument("structured output: " + message, "structured_outputs");
    return std::unique_ptr<GrammarMatcher>(std::make_unique<CoreMatcher>(state));
  }

 private:
  std::unique_ptr<BraidGrammars, Freer> handle_;
};

}  // namespace

void GrammarMatcher::look_ahead(std::span<const std::int32_t> drafts, std::size_t words, std::vector<std::uint32_t>& masks) {
  const auto add = [&](GrammarMatcher& matcher) {
    masks.resize(masks.size() + words);
    matcher.fill_mask(std::span(masks).last(words));
  };
  add(*this);
  if (drafts.empty()) return;
  const auto copy = clone();
  for (const std::int32_t draft : drafts) {
    if (!copy->accept(draft) || copy->finished()) return;
    add(*copy);
  }
}

Result<std::shared_ptr<const GrammarCompiler>> make_grammar_compiler(
    const std::string& tokenizer_folder, std::vector<std::int32_t> eos_ids, std::int32_t vocabulary) {
  ASSIGN_OR_RETURN(const TokenizerFile file, read_tokenizer_file(tokenizer_folder));
  const std::vector<std::uint32_t> eos(eos_ids.begin(), eos_ids.end());
  BraidGrammars* handle = nullptr;
  BraidBytes out{};
  const int failed = braid_grammars_new(as_text(file.json), eos.data(), eos.size(),
                                        static_cast<std::size_t>(vocabulary), &handle, &out);
  const std::string message = take(out);
  if (failed) return invalid_argument(file.path + " can't drive grammars: " + message);
  return std::shared_ptr<const GrammarCompiler>(std::make_shared<CoreCompiler>(handle));
}

}  // namespace braid::text
