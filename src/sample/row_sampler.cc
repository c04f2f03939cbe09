// SPDX-License-Identifier: Apache-2.0
#include "sample/row_sampler.h"

#include <algorithm>
#include <limits>

#include "sample/random.h"

namespace braid::sample {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();
constexpr float kGreedyBelow = 1e-5f;
constexpr float kLeastTemperature = 1e-2f;  // lower ones overflow without changing the choice

// Words of a mask over a vocabulary.
std::size_t words_for(std::size_t vocabulary) { return (vocabulary + 31) / 32; }

void forbid(std::span<float> logits, std::int32_t token) {
  if (token >= 0 && static_cast<std::size_t>(token) < logits.size()) {
    logits[static_cast<std::size_t>(token)] = kForbidden;
  }
}

}  // namespace

RowSampler::RowSampler(const protocol::SamplingParams& params,
                       std::span<const std::int32_t> prompt,
                       RowOptions options)
    : greedy_(params.temperature < kGreedyBelow),
      restriction_{std::max(params.temperature, kLeastTemperature),
                   params.min_p,
                   params.top_k,
                   params.top_p},
      seed_(options.seed),
      min_tokens_(params.min_tokens),
      presence_(params.presence_penalty),
      frequency_(params.frequency_penalty),
      repetition_(params.repetition_penalty),
      bias_(params.logit_bias.begin(), params.logit_bias.end()),
      allowed_(params.allowed_token_ids),
      end_ids_(std::move(options.end_ids)),
      bad_words_(std::move(options.bad_words)),
      grammar_(std::move(options.grammar)) {
  std::sort(allowed_.begin(), allowed_.end());
  if (repetition_ != 1) {
    for (const std::int32_t token : prompt) seen_.try_emplace(token, 0);
  }
  plain_ = allowed_.empty() && bad_words_.empty() && bias_.empty() &&
           presence_ == 0 && frequency_ == 0 && repetition_ == 1;
}

std::int32_t RowSampler::sample(std::span<const float> logits, Scratch& scratch) {
  std::span<const float> row = logits;
  const bool too_short = output_count_ < static_cast<std::uint64_t>(std::max(min_tokens_, 0));
  const bool by_grammar = masked();
  if (!plain_ || by_grammar || too_short) {
    scratch.logits.assign(logits.begin(), logits.end());
    const std::span<float> work = scratch.logits;
    if (by_grammar) apply_grammar(work, scratch);
    if (!allowed_.empty()) apply_allowed(work);
    if (!bad_words_.empty()) apply_bad_words(work);
    if (too_short) {
      for (const std::int32_t token : end_ids_) forbid(work, token);
    }
    for (const auto& [token, bias] : bias_) {
      if (token >= 0 && static_cast<std::size_t>(token) < work.size()) {
        work[static_cast<std::size_t>(token)] += bias;
      }
    }
    apply_penalties(work);
    row = work;
  }
  if (greedy_) return argmax(row);
  return choose(row, restriction_, uniform(seed_, output_count_), scratch);
}

ops::ChooseTokens::Draw RowSampler::draw(std::int32_t columns, int ahead) const {
  using By = ops::ChooseTokens::By;
  const std::uint64_t position = output_count_ + static_cast<std::uint64_t>(ahead);
  if (!plain_ || grammar_ != nullptr || position < static_cast<std::uint64_t>(std::max(min_tokens_, 0))) return {};
  if (greedy_) return {.by = By::kLargest, .columns = columns};
  return {By::kChance, columns, restriction_.temperature, restriction_.min_p, restriction_.top_k, restriction_.top_p, uniform(seed_, position)};
}

bool RowSampler::accept(std::int32_t token) {
  if (grammar_ != nullptr && !grammar_->accept(token)) return false;
  const std::uint64_t position = output_count_ - ahead_from_;
  if (position >= ahead_drafts_.size() || ahead_drafts_[position] != token) ahead_.clear();
  ++output_count_;
  if (!bad_words_.empty()) output_.push_back(token);
  if (presence_ != 0 || frequency_ != 0 || repetition_ != 1) ++seen_[token];
  return true;
}

void RowSampler::prepare(std::span<const std::int32_t> drafts, std::int32_t vocabulary) {
  ahead_.clear();
  ahead_drafts_.assign(drafts.begin(), drafts.end());
  ahead_from_ = output_count_;
  if (masked()) grammar_->look_ahead(drafts, words_for(static_cast<std::size_t>(vocabulary)), ahead_);
}

std::span<const std::uint32_t> RowSampler::prepared(std::size_t words) const {
  const std::size_t first = (output_count_ - ahead_from_) * words;
  return first + words <= ahead_.size() ? std::span(ahead_).subspan(first, words) : std::span<const std::uint32_t>();
}

void RowSampler::apply_grammar(std::span<float> logits, Scratch& scratch) const {
  std::span<const std::uint32_t> mask = prepared(words_for(logits.size()));
  if (mask.empty()) {
    scratch.mask.assign(words_for(logits.size()), 0);
    grammar_->fill_mask(scratch.mask);
    mask = scratch.mask;
  }
  for (std::size_t word = 0; word < mask.size(); ++word) {
    if (mask[word] == ~std::uint32_t{0}) continue;
    const std::size_t end = std::min(logits.size(), (word + 1) * 32);
    for (std::size_t i = word * 32; i < end; ++i) {
      if ((mask[word] >> (i % 32) & 1) == 0) logits[i] = kForbidden;
    }
  }
}

void RowSampler::apply_allowed(std::span<float> logits) const {
  std::size_t next = 0;
  for (const std::int32_t token : allowed_) {
    if (token < 0 || static_cast<std::size_t>(token) >= logits.size()) continue;
    for (; next < static_cast<std::size_t>(token); ++next) logits[next] = kForbidden;
    next = static_cast<std::size_t>(token) + 1;
  }
  for (; next < logits.size(); ++next) logits[next] = kForbidden;
}

void RowSampler::apply_bad_words(std::span<float> logits) const {
  for (const auto& word : bad_words_) {
    if (word.empty() || word.size() - 1 > output_.size()) continue;
    const auto start = output_.end() - static_cast<std::ptrdiff_t>(word.size() - 1);
    if (std::equal(start, output_.end(), word.begin())) forbid(logits, word.back());
  }
}

void RowSampler::apply_penalties(std::span<float> logits) const {
  for (const auto& [token, count] : seen_) {
    if (token < 0 || static_cast<std::size_t>(token) >= logits.size()) continue;
    float& logit = logits[static_cast<std::size_t>(token)];
    if (repetition_ != 1) logit = logit > 0 ? logit / repetition_ : logit * repetition_;
    logit -= frequency_ * static_cast<float>(count);
    if (count > 0) logit -= presence_;
  }
}

}  // namespace braid::sample
