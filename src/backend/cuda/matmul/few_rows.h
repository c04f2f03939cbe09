// SPDX-License-Identifier: Apache-2.0
// Hopper's GEMM for the few rows of a small decode step: it prepares its own operand, so nothing stands before it,
// and its blocks share k where outputs are few. A row's result is bit for bit that of gemm/gemm.h, which makes the
// choice between both (few_rows_split in matmul/choose.h) a matter of time alone.
#pragma once

#include <span>

#include "backend/cuda/gemm/gemm.h"
#include "backend/cuda/stream.h"
#include "ops/grouped_mlp.h"

namespace braid::cuda {

struct FewRows {
  Precision precision = Precision::kBf16;
  const void* x = nullptr;  // bfloat16, 16-byte aligned
  std::int64_t stride = 0;  // of it, elements; a multiple of 8
  const std::int32_t* row_token = nullptr;  // row r is row row_token[r] of x; null: row r
  bool gated = false;       // x holds gate and up in turns (feed_rows.h), to be activated by glu
  ops::Glu glu;
  const std::int32_t* offsets = nullptr;  // [groups + 1] on the device; null: one group
  std::int64_t rows = 0;                  // of all groups
  std::span<const GemmWeight> weights;
  Activations out;
  bool accumulate = false;  // float32 only
  int split = 1;            // blocks that share k: few_rows_split's
};

void run_few_rows(const FewRows& call, Stream& stream);

}  // namespace braid::cuda
