// SPDX-License-Identifier: Apache-2.0
// Whether Hopper's GEMM takes a problem, and which tile multiplies it there or by mma.sync: pure host
// code. Tiles have no influence on results.
#pragma once

#include <cstdint>
#include <string>

#include "backend/cuda/gemm/choose.h"
#include "ops/grouped_mlp.h"
#include "ops/linear.h"

namespace braid::cuda {

struct MatmulProblem {
  std::int64_t rows = 0;    // of x, over all groups
  std::int64_t groups = 1;  // that the rows are spread over, in runs of unknown length
  std::int64_t columns = 0;
  std::int64_t batch = 1;
  std::int64_t large_rows = 128;  // of a large tile
  int processors = 1;
};

struct TileConfig {
  bool large = false;        // tiles through shared memory; else 16 rows straight from memory
  int small_columns = 8;     // 8 or 32
  std::int64_t row_tiles = 0;  // that suffice for any spread of the rows
};

// For matmul/few_rows.h: how many blocks share k, 0 where gemm/gemm.h is faster.
int few_rows_split(const GemmProblem& problem, std::int64_t rows, int processors);

TileConfig choose_tile(const MatmulProblem& problem);

// Why Hopper's GEMM can't run it; empty when it can. Its e4m3 weights need e4m3 inputs.
std::string hopper_linear_support(const ops::Linear::Problem& problem, const Capabilities& caps);
std::string hopper_mlp_support(const ops::GroupedMlp::Problem& problem, const Capabilities& caps);

// What the GEMM is expected to meet when `rows` are spread over `groups`, of sizes that only the GPU knows.
GemmProblem describe_gemm(Precision precision, std::int64_t rows, std::int64_t groups, int n, int k);

}  // namespace braid::cuda
