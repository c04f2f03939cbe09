// SPDX-License-Identifier: Apache-2.0
// A grammar that allows one fixed text, given as token ids separated by spaces.
#pragma once

#include <cstdint>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "text/grammar.h"

namespace braid::engine::testing {

class LiteralMatcher final : public text::GrammarMatcher {
 public:
  explicit LiteralMatcher(std::vector<std::int32_t> text) : text_(std::move(text)) {}

  void fill_mask(std::span<std::uint32_t> mask) override {
    if (finished()) return;
    const auto token = static_cast<std::uint32_t>(text_[at_]);
    mask[token / 32] |= 1u << (token % 32);
  }
  bool accept(std::int32_t token) override {
    if (finished() || token != text_[at_]) return false;
    ++at_;
    return true;
  }
  bool finished() const override { return at_ == text_.size(); }
  std::unique_ptr<GrammarMatcher> clone() const override {
    return std::make_unique<LiteralMatcher>(*this);
  }

 private:
  std::vector<std::int32_t> text_;
  std::size_t at_ = 0;
};

class LiteralCompiler final : public text::GrammarCompiler {
 public:
  Result<std::unique_ptr<text::GrammarMatcher>> compile(text::GrammarKind,
                                                        const std::string& text) const override {
    std::istringstream words(text);
    std::vector<std::int32_t> ids;
    for (std::int32_t id = 0; words >> id;) ids.push_back(id);
    if (ids.empty()) return invalid_argument("the grammar is empty");
    return std::unique_ptr<text::GrammarMatcher>(std::make_unique<LiteralMatcher>(std::move(ids)));
  }
};

}  // namespace braid::engine::testing
