// SPDX-License-Identifier: Apache-2.0
// What the GEMM kernel is launched with, and what its blocks read out of it.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "backend/cuda/gemm/gemm.h"

namespace braid::cuda {

// How sums become rows of the output.
enum class GemmStore {
  kTiles,  // bf16 by the copy engine
  kRows,   // from registers: float32, bf16 of any stride, or added to what is there
};

// Together, since what a kernel is launched with is fetched in lines.
struct GroupArguments {
  const std::uint8_t* weights;
  const float* weight_scales;
  std::int32_t n;
  std::int32_t k_blocks;
};

struct GemmArguments {
  CUtensorMap activations;  // [rows in all, k], boxes of box_rows x 128 bytes, swizzled
  CUtensorMap scales;       // [k blocks, rows in all] float32, boxes of one tile's rows
  CUtensorMap output;       // [rows in all, n] bf16, boxes of 16 rows (kTiles)
  GemmStore store;
  void* out;
  std::int64_t out_stride;
  bool out_float;
  bool out_paired;  // neighbouring elements may be written as one
  bool accumulate;

  const std::int32_t* offsets;  // [groups + 1] first row of each group, or null
  const std::int32_t* counts;   // [groups] rows of each group, which begins at group * pitch
  int pitch;
  int rows;  // of the only group, if offsets and counts are null

  int groups;
  int band;  // tiles of m that are walked together before the next tile of n
  std::uint64_t weight_policy;
  std::uint64_t activation_policy;

  GroupArguments group[kMostGemmGroups];
};

}  // namespace braid::cuda
