// SPDX-License-Identifier: Apache-2.0
#include "text/gated_matcher.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace braid::text {
namespace {

void allow_all(std::span<std::uint32_t> mask) { std::fill(mask.begin(), mask.end(), ~std::uint32_t{0}); }

void allow(std::span<std::uint32_t> mask, std::int32_t token) {
  const auto bit = static_cast<std::uint32_t>(token);
  if (bit / 32 < mask.size()) mask[bit / 32] |= 1u << (bit % 32);
}

// Finds a marker in text that comes token by token.
class MarkerWatch {
 public:
  MarkerWatch(std::string marker, std::shared_ptr<const Tokenizer> tokenizer)
      : marker_(std::move(marker)), tokenizer_(std::move(tokenizer)) {}

  // Whether the marker ends in the text of this token.
  bool sees(std::int32_t token) {
    tail_ += tokenizer_->is_special(token) ? tokenizer_->token(token) : tokenizer_->bytes(token);
    const bool found = tail_.find(marker_) != std::string::npos;
    if (found) tail_.clear();
    else if (tail_.size() >= marker_.size()) tail_.erase(0, tail_.size() - marker_.size() + 1);
    return found;
  }
  void forget() { tail_.clear(); }

 private:
  std::string marker_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::string tail_;
};

class AfterReasoning final : public GrammarMatcher {
 public:
  AfterReasoning(const ReasoningGate& gate, const std::shared_ptr<const Tokenizer>& tokenizer, std::unique_ptr<GrammarMatcher> answer)
      : budget_(gate.budget),
        open_(tokenizer->encode(gate.open, false)),
        close_(tokenizer->encode(gate.close, false)),
        watch_(gate.close, tokenizer),
        answer_(std::move(answer)) {
    if (gate.open_in_prompt || open_.empty()) state_ = State::kReasoning;
    spend(0);
  }
  AfterReasoning(const AfterReasoning& other)
      : state_(other.state_), budget_(other.budget_), open_(other.open_), close_(other.close_), watch_(other.watch_),
        spent_(other.spent_), at_(other.at_), answer_(other.answer_ ? other.answer_->clone() : nullptr) {}

  bool restricts() const override {
    switch (state_) {
      case State::kStart: return answer_ && answer_->restricts();
      case State::kOpening:
      case State::kClosing: return true;
      case State::kReasoning: return false;
      case State::kAnswer: return answer_ && answer_->restricts();
    }
    return true;
  }

  void fill_mask(std::span<std::uint32_t> mask) override {
    switch (state_) {
      case State::kStart:
        if (!answer_) return allow_all(mask);
        answer_->fill_mask(mask);
        return allow(mask, open_.front());
      case State::kOpening: return allow(mask, open_[at_]);
      case State::kClosing: return allow(mask, close_[at_]);
      case State::kReasoning: return allow_all(mask);
      case State::kAnswer: return answer_ ? answer_->fill_mask(mask) : allow_all(mask);
    }
  }

  bool accept(std::int32_t token) override {
    switch (state_) {
      case State::kStart: return start(token);
      case State::kOpening:
        if (token != open_[at_]) return false;
        opened();
        return true;
      case State::kClosing:
        if (token != close_[at_]) return false;
        if (++at_ == close_.size()) state_ = State::kAnswer;
        return true;
      case State::kReasoning:
        if (watch_.sees(token)) state_ = State::kAnswer;
        else spend(1);
        return true;
      case State::kAnswer: return !answer_ || answer_->accept(token);
    }
    return false;
  }

  bool finished() const override { return state_ == State::kAnswer && answer_ && answer_->finished(); }
  void look_ahead(std::span<const std::int32_t> drafts, std::size_t words, std::vector<std::uint32_t>& masks) override {
    if (state_ == State::kAnswer && answer_) answer_->look_ahead(drafts, words, masks);
    else GrammarMatcher::look_ahead(drafts, words, masks);
  }
  std::vector<std::int32_t> forced() override {
    if (state_ == State::kAnswer && answer_) return answer_->forced();
    if (state_ == State::kClosing) return {close_.begin() + static_cast<std::ptrdiff_t>(at_), close_.end()};
    return {};
  }
  std::unique_ptr<GrammarMatcher> clone() const override { return std::make_unique<AfterReasoning>(*this); }

 private:
  enum class State { kStart, kOpening, kReasoning, kClosing, kAnswer };

  bool start(std::int32_t token) {
    if (token == open_.front()) opened();
    else state_ = State::kAnswer;
    return state_ != State::kAnswer || !answer_ || answer_->accept(token);
  }
  void opened() {
    state_ = ++at_ == open_.size() ? State::kReasoning : State::kOpening;
    if (state_ == State::kReasoning) spend(0);
  }
  void spend(int tokens) {
    spent_ += tokens;
    if (state_ != State::kReasoning || close_.empty() || !budget_ || spent_ < *budget_) return;
    state_ = State::kClosing;
    at_ = 0;
  }

  State state_ = State::kStart;
  std::optional<int> budget_;
  std::vector<std::int32_t> open_, close_;
  MarkerWatch watch_;
  int spent_ = 0;
  std::size_t at_ = 0;  // of open_ or close_
  std::unique_ptr<GrammarMatcher> answer_;
};

class AfterEach final : public GrammarMatcher {
 public:
  AfterEach(const std::string& trigger, std::shared_ptr<const Tokenizer> tokenizer, std::unique_ptr<GrammarMatcher> section)
      : watch_(trigger, std::move(tokenizer)), section_(std::move(section)) {}
  AfterEach(const AfterEach& other)
      : watch_(other.watch_), section_(other.section_), inside_(other.inside_ ? other.inside_->clone() : nullptr) {}

  bool restricts() const override { return inside_ != nullptr; }
  void fill_mask(std::span<std::uint32_t> mask) override { inside_ ? inside_->fill_mask(mask) : allow_all(mask); }

  bool accept(std::int32_t token) override {
    if (!inside_) {
      if (watch_.sees(token)) inside_ = section_->clone();
      return true;
    }
    if (!inside_->accept(token)) return false;
    if (!inside_->finished()) return true;
    inside_.reset();
    watch_.forget();
    return true;
  }

  bool finished() const override { return false; }
  void look_ahead(std::span<const std::int32_t> drafts, std::size_t words, std::vector<std::uint32_t>& masks) override {
    if (inside_) inside_->look_ahead(drafts, words, masks);
    else GrammarMatcher::look_ahead(drafts, words, masks);
  }
  std::vector<std::int32_t> forced() override { return inside_ ? inside_->forced() : std::vector<std::int32_t>(); }
  std::unique_ptr<GrammarMatcher> clone() const override { return std::make_unique<AfterEach>(*this); }

 private:
  MarkerWatch watch_;
  std::shared_ptr<const GrammarMatcher> section_;  // at its beginning
  std::unique_ptr<GrammarMatcher> inside_;
};

}  // namespace

std::unique_ptr<GrammarMatcher> after_reasoning(ReasoningGate gate, std::shared_ptr<const Tokenizer> tokenizer,
                                                std::unique_ptr<GrammarMatcher> answer) {
  return std::make_unique<AfterReasoning>(gate, tokenizer, std::move(answer));
}

std::unique_ptr<GrammarMatcher> after_each(std::string trigger, std::shared_ptr<const Tokenizer> tokenizer,
                                           std::unique_ptr<GrammarMatcher> section) {
  return std::make_unique<AfterEach>(trigger, std::move(tokenizer), std::move(section));
}

}  // namespace braid::text
