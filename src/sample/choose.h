// SPDX-License-Identifier: Apache-2.0
// From a row of logits to one token, at random: temperature, then min-p, top-k, top-p, then a draw
// in proportion to what is left.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sample/rows.h"

namespace braid::sample {

struct Restriction {
  float temperature = 1.0f;  // > 0
  float min_p = 0.0f;        // least probability, as a share of the likeliest token's
  int top_k = 0;             // 0: all; tokens that tie with the k-th stay
  float top_p = 1.0f;        // the fewest likeliest tokens that hold this share
};

// Memory that is reused from row to row.
struct Scratch {
  std::vector<float> logits;
  std::vector<float> weights;
  std::vector<float> floats;
  std::vector<double> sums;
  std::vector<Candidate> candidates;
  std::vector<std::uint32_t> mask;
};

// `draw` in [0, 1) decides. -1 when no logit is above -infinity. `logits` may lie in
// scratch.logits.
std::int32_t choose(std::span<const float> logits,
                    const Restriction& restriction,
                    double draw,
                    Scratch& scratch);

}  // namespace braid::sample
