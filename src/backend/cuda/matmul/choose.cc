// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/matmul/choose.h"

#include <algorithm>

namespace braid::cuda {
namespace {

constexpr std::int64_t kSmallRows = 16;
// Up to here reading the weights once for each 16 rows, out of the L2 cache, beats idle tile rows.
constexpr std::int64_t kMostSmallRows = 32;

// Each group may end in a tile of its own, and no group is without rows.
std::int64_t tiles(std::int64_t rows, std::int64_t groups, std::int64_t of) {
  return std::min(rows, groups - 1) + (rows + of - 1) / of;
}

std::string hopper_support(DType x, ops::WeightFormat format, std::int64_t inputs, bool f8_activations, const Capabilities& caps) {
  if (!caps.has("sm_90a")) return "needs compute capability 9.0";
  if (x != DType::kBF16 || format == ops::WeightFormat::kF32) return "multiplies bfloat16 activations";
  if (format == ops::WeightFormat::kI8) return "int8 activations are for CPUs";
  if (format == ops::WeightFormat::kF8 && !f8_activations) return "FP8 weights need FP8 activations, which are off";
  return inputs % 8 != 0 ? "needs a multiple of 8 inputs" : "";
}

}  // namespace

std::string hopper_linear_support(const ops::Linear::Problem& p, const Capabilities& caps) {
  return p.batch > 1 ? "multiplies one matrix" : hopper_support(p.x, p.format, p.k, p.f8_activations, caps);
}

std::string hopper_mlp_support(const ops::GroupedMlp::Problem& p, const Capabilities& caps) {
  return hopper_support(p.x, p.format, p.hidden, p.f8_activations, caps);
}

GemmProblem describe_gemm(Precision precision, std::int64_t rows, std::int64_t groups, int n, int k) {
  const std::int64_t filled = std::max<std::int64_t>(1, std::min(groups, rows));
  return {precision, static_cast<int>(filled), (rows + filled - 1) / filled, (n + 7) / 8 * 8, precision == Precision::kFp8 ? (k + 15) / 16 * 16 : (k + 7) / 8 * 8};
}

int few_rows_split(const GemmProblem& p, std::int64_t rows, int processors) {
  constexpr std::int64_t kRows = 8, kOutputs = 64, kMostInputBytes = 8192;
  // Measured on H100: with more rows rounding them to e4m3 again in every block takes longer than it saves.
  const std::int64_t tokens = p.precision == Precision::kFp8 ? 2 : kRows;
  if (p.k * element_bytes(p.precision) > kMostInputBytes || rows > (p.groups > 1 ? tokens * kRows : tokens)) return 0;
  const std::int64_t blocks = (p.n + kOutputs - 1) / kOutputs * (p.groups > 1 ? rows : 1);
  if (p.groups == 1 && blocks > 8 * processors) return 0;
  const int k_blocks = PackedShape{p.precision, 1, p.n, p.k}.k_blocks();
  const auto fits = [&](int split) { return FewRowsMap(k_blocks, split).bytes() <= kMostSharedBytes; };
  int split = 1;
  while (p.precision == Precision::kFp8 && split < 4 && 2 * blocks * split <= processors * 3 / 2 && k_blocks >= 8 * split && fits(2 * split)) split *= 2;
  return fits(split) ? split : 0;
}

TileConfig choose_tile(const MatmulProblem& p) {
  TileConfig config;
  const std::int64_t each = (p.rows + p.groups - 1) / std::max<std::int64_t>(1, std::min(p.groups, p.rows));
  config.large = each > kMostSmallRows;
  config.row_tiles = tiles(p.rows, p.groups, config.large ? p.large_rows : kSmallRows);
  const std::int64_t wide = (p.columns + 31) / 32 * config.row_tiles * p.batch;
  if (wide >= 2 * p.processors) config.small_columns = 32;
  return config;
}

}  // namespace braid::cuda
