// SPDX-License-Identifier: Apache-2.0
// Chooses the tokens of one sequence, in one straight pipeline per row of logits:
//   grammar mask, allowed tokens, bad words, min_tokens, logit_bias, penalties (repetition on prompt
//   and output, frequency and presence on output), then greedy, or temperature, min-p, top-k, top-p
//   and a draw.
// The order and the meaning of each step are vLLM's. A draw depends on the seed and on how many
// tokens the sequence has, on nothing else.
// Thread rules: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "ops/choose_tokens.h"
#include "protocol/sampling_params.h"
#include "sample/choose.h"
#include "text/grammar.h"

namespace braid::sample {

// What a sampler needs beside the request's parameters.
struct RowOptions {
  std::uint64_t seed = 0;
  std::vector<std::int32_t> end_ids;  // not sampled before min_tokens
  std::vector<std::vector<std::int32_t>> bad_words;
  std::unique_ptr<text::GrammarMatcher> grammar;  // may be null
};

class RowSampler {
 public:
  // `prompt` is read during the call only, and only if something depends on it.
  RowSampler(const protocol::SamplingParams& params,
             std::span<const std::int32_t> prompt,
             RowOptions options);

  // The next token; -1 when everything is forbidden or nothing is finite. Does not advance.
  std::int32_t sample(std::span<const float> logits, Scratch& scratch);

  // How sample() would choose the token that comes after `ahead` more tokens, from the first `columns` logits; left
  // to the host where more decides than these logits and a draw.
  ops::ChooseTokens::Draw draw(std::int32_t columns, int ahead) const;

  // Records that the sequence gained `token`; false when the grammar does not allow it.
  bool accept(std::int32_t token);

  // Whether a grammar has a say in the next token.
  bool masked() const { return grammar_ != nullptr && grammar_->restricts(); }
  // Computes the grammar's masks for the next token and for those behind each of `drafts`, so that
  // sample() has them. Changes nothing that can be seen.
  void prepare(std::span<const std::int32_t> drafts, std::int32_t vocabulary);
  // Tokens that the grammar leaves no choice about, so that a forward pass can take them at once.
  std::vector<std::int32_t> forced() const { return masked() ? grammar_->forced() : std::vector<std::int32_t>(); }

  // The grammar's output is complete.
  bool complete() const { return grammar_ != nullptr && grammar_->finished(); }

 private:
  void apply_grammar(std::span<float> logits, Scratch& scratch) const;
  // The prepared mask of the next token; empty: none is.
  std::span<const std::uint32_t> prepared(std::size_t words) const;
  void apply_allowed(std::span<float> logits) const;
  void apply_bad_words(std::span<float> logits) const;
  void apply_penalties(std::span<float> logits) const;

  bool greedy_;
  bool plain_;  // beside the grammar, the logits need no processing
  Restriction restriction_;
  std::uint64_t seed_;
  int min_tokens_;
  float presence_, frequency_, repetition_;
  std::vector<std::pair<std::int32_t, float>> bias_;
  std::vector<std::int32_t> allowed_;  // ascending
  std::vector<std::int32_t> end_ids_;
  std::vector<std::vector<std::int32_t>> bad_words_;
  std::unique_ptr<text::GrammarMatcher> grammar_;

  // Prepared masks, of the tokens from output_count_ == ahead_from_ on; they presume the drafts.
  std::vector<std::uint32_t> ahead_;
  std::vector<std::int32_t> ahead_drafts_;
  std::uint64_t ahead_from_ = 0;

  std::vector<std::int32_t> output_;  // kept only for bad words
  std::uint64_t output_count_ = 0;
  // Times a token occurs in the output; 0 for those of the prompt, kept only for repetition.
  std::unordered_map<std::int32_t, int> seen_;
};

}  // namespace braid::sample
