// SPDX-License-Identifier: Apache-2.0
// What the GEMM kernel is launched with, and what its blocks read out of it.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace braid::cuda {

struct GemmArguments {
  CUtensorMap activations;  // [rows in all, k], boxes of box_rows x 128 bytes, swizzled
  CUtensorMap scales;       // [k blocks, rows in all] float32, boxes of one tile's rows
  CUtensorMap output;       // [rows in all, n] bf16, boxes of 16 rows
  const std::uint8_t* weights;
  const float* weight_scales;
  void* out;

  const std::int32_t* offsets;  // [groups + 1] first row of each group, or null
  const std::int32_t* counts;   // [groups] rows of each group, which begins at group * pitch
  int pitch;
  int rows;  // of the only group, if offsets and counts are null

  int groups;
  int n;
  int n_blocks;
  int k_blocks;
  int band;  // tiles of m that are walked together before the next tile of n
  std::uint64_t weight_policy;
  std::uint64_t activation_policy;
};

}  // namespace braid::cuda
