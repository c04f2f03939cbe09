// SPDX-License-Identifier: Apache-2.0
// Dual batch overlap: a step's tokens in two halves, whose layers interleave so that one half
// computes while the other's tokens or results are on their way.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "model/batch.h"

namespace braid::model {

// One half: which, which row of the whole batch its first row is, and whether the other half computes while it communicates.
struct Lane {
  int index = 0;
  std::int64_t first_row = 0;
  bool overlapped = false;
};

// What is done next, for which half. A layer is entered (attention, routing, tokens leave), computed
// (tokens of others have arrived, experts work, results leave) and finished (results have arrived).
struct Stage {
  enum class What : std::uint8_t { kEnter, kCompute, kFinish } what;
  int layer;
  int lane;
};

// The order for `layers` layers, the same on every rank. The second half enters a layer after the
// first has, so that its attention finds the keys of a prompt that lies in both.
std::vector<Stage> overlapped_stages(int layers);

// The first half of the rows, rounded up, and the rest: each a batch of its own, without logit rows.
// A prompt's chunk that lies in both is continued in the second.
void split(const Batch& batch, std::array<Batch, 2>& halves);
inline std::int64_t first_half(std::int64_t tokens) { return (tokens + 1) / 2; }

}  // namespace braid::model
