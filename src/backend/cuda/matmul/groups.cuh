// SPDX-License-Identifier: Apache-2.0
// Groups of rows, each with a weight of its own, whose sizes only the GPU knows.
#pragma once

#include <cstdint>

#include "backend/cuda/matmul/matmul.h"

namespace braid::cuda {

// One weight of each group, in a kernel's parameters.
struct GroupWeights {
  const void* values[kMaxGroups];
  const float* scales[kMaxGroups];
  const float* bias[kMaxGroups];  // of gate, then of up; or of down; null: none
  std::int32_t inter[kMaxGroups];
};

struct GroupTile {
  int group = -1;  // -1: there is no such tile
  int first = 0;   // row, over all groups
  int rows = 0;    // that are left in the group from there on
};

// Tile number `tile` when every group is cut into tiles of `size` rows; group g owns rows
// [offsets[g], offsets[g + 1]). Asked by whole warps.
__device__ inline GroupTile find_tile(const std::int32_t* offsets, int groups, int size, int tile) {
  const int lane = threadIdx.x % 32;
  int before = 0;
  for (int base = 0; base < groups; base += 32) {
    const int g = base + lane;
    const int begin = g < groups ? offsets[g] : 0, rows = g < groups ? offsets[g + 1] - begin : 0;
    const int tiles = (rows + size - 1) / size;
    int sum = tiles;
    for (int d = 1; d < 32; d *= 2) {
      const int other = __shfl_up_sync(~0u, sum, d);
      if (lane >= d) sum += other;
    }
    const unsigned mine = __ballot_sync(~0u, before + sum > tile);
    if (mine != 0) {
      const int owner = __ffs(static_cast<int>(mine)) - 1;
      const int inside = tile - before - __shfl_sync(~0u, sum - tiles, owner);
      const int first = __shfl_sync(~0u, begin, owner) + inside * size;
      const int left = __shfl_sync(~0u, rows, owner) - inside * size;
      return {base + owner, first, left};
    }
    before += __shfl_sync(~0u, sum, 31);
  }
  return {};
}

// A call's groups as kernels take them.
struct GroupCall {
  explicit GroupCall(const ops::GroupedMlp::Args& args);

  // Elements from one row of activations between the two phases to the next.
  std::int64_t act_stride() const { return (inter + 63) / 64 * 64; }

  std::int64_t groups = 0, hidden = 0;
  std::int64_t inter = 0;  // the largest
  ops::WeightFormat gate_up_format = ops::WeightFormat::kBF16, down_format = ops::WeightFormat::kBF16;
  ops::Glu glu;
  GroupWeights gate_up{}, down{};
};

// Activation i of a group of `inter`, from its two sums.
__device__ inline float activation(const ops::Glu& glu, const float* bias, int inter, int i, float gate, float up) {
  if (bias && i < inter) gate += bias[i], up += bias[inter + i];
  gate = fminf(gate, glu.limit);
  up = fminf(fmaxf(up, -glu.limit), glu.limit);
  return gate / (1.0f + expf(-glu.alpha * gate)) * (up + glu.up_offset);
}

}  // namespace braid::cuda
