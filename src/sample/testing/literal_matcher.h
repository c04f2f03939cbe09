// SPDX-License-Identifier: Apache-2.0
// Allows exactly the tokens of a fixed text, one after another.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "text/grammar.h"

namespace braid::sample::testing {

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

}  // namespace braid::sample::testing
