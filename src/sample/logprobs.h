// SPDX-License-Identifier: Apache-2.0
// Log-probabilities of a row as the model gave it, before anything was masked, biased or scaled.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sample/choose.h"

namespace braid::sample {

struct TokenLogprob {
  std::int32_t token = 0;
  float logprob = 0;
  std::int32_t rank = 0;  // 1 = most likely; tokens of equal logit share the larger rank
};

// `token` first, then the `top` likeliest tokens (-1: all) in descending order.
std::vector<TokenLogprob> logprobs_of(std::span<const float> logits,
                                      std::int32_t token,
                                      int top,
                                      Scratch& scratch);

}  // namespace braid::sample
