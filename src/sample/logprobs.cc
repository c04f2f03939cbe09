// SPDX-License-Identifier: Apache-2.0
#include "sample/logprobs.h"

#include <algorithm>
#include <cmath>

namespace braid::sample {

std::vector<TokenLogprob> logprobs_of(std::span<const float> logits,
                                      std::int32_t token,
                                      int top,
                                      Scratch& scratch) {
  const float max = max_of(logits);
  scratch.weights.resize(logits.size());
  exp_row(logits, max, 1.0f, scratch.weights);
  const double log_sum = max + std::log(sum_chunks(scratch.weights, scratch.sums));
  const auto logprob = [&](float logit) { return static_cast<float>(logit - log_sum); };

  const float chosen = logits[static_cast<std::size_t>(token)];
  std::vector<TokenLogprob> result;
  const std::size_t count = top < 0 ? logits.size() : static_cast<std::size_t>(top);
  result.reserve(1 + std::min(count, logits.size()));
  result.push_back(
      {token, logprob(chosen), static_cast<std::int32_t>(count_at_least(logits, chosen))});
  top_values(logits, count, scratch.candidates, scratch.floats);
  for (std::size_t i = 0; i < std::min(count, scratch.candidates.size()); ++i) {
    const Candidate& c = scratch.candidates[i];
    result.push_back({c.token, logprob(c.value), static_cast<std::int32_t>(i + 1)});
  }
  return result;
}

}  // namespace braid::sample
