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

// Bytes of shared memory of a block of matmul/few_rows.h from its begin: stages of weights, then its rows of all blocks of k,
// the products that others of its cluster hand it, scales, barriers.
struct FewRowsMap {
  static constexpr int kTokens = 8, kStages = 8, kStageBytes = 64 * kTileRowBytes, kRowsBytes = kTokens * kTileRowBytes;
  static constexpr int kPartBytes = 128 * 4 * static_cast<int>(sizeof(float));
  int k_blocks = 0;
  int handed = 0;  // blocks of k that others multiply

  constexpr FewRowsMap(int blocks, int split) : k_blocks(blocks), handed(blocks - (blocks + split - 1) / split) {}
  constexpr int rows(int block) const { return kStages * kStageBytes + block * kRowsBytes; }
  constexpr int part(int number) const { return rows(k_blocks) + number * kPartBytes; }
  constexpr int row_scales() const { return part(handed); }
  constexpr int weight_scales() const { return row_scales() + k_blocks * kTokens * 4; }
  constexpr int full(int stage) const { return weight_scales() + (k_blocks + 1) / 2 * 8 + stage * 8; }
  constexpr int empty(int stage) const { return full(kStages + stage); }
  constexpr int bytes() const { return full(2 * kStages); }
};
inline constexpr int kMostSharedBytes = 227 << 10;  // of a block on Hopper

// How many blocks of matmul/few_rows.h share k, 0 where gemm/gemm.h is faster.
int few_rows_split(const GemmProblem& problem, std::int64_t rows, int processors);

TileConfig choose_tile(const MatmulProblem& problem);

// Why Hopper's GEMM can't run it; empty when it can. Its e4m3 weights need e4m3 inputs.
std::string hopper_linear_support(const ops::Linear::Problem& problem, const Capabilities& caps);
std::string hopper_mlp_support(const ops::GroupedMlp::Problem& problem, const Capabilities& caps);

// What the GEMM is expected to meet when `rows` are spread over `groups`, of sizes that only the GPU knows.
GemmProblem describe_gemm(Precision precision, std::int64_t rows, std::int64_t groups, int n, int k);

}  // namespace braid::cuda
