// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/gemm/choose.h"

#include <algorithm>

#include "backend/cuda/gemm/tilings.h"

namespace braid::cuda {
namespace {

constexpr double kClockMhz = 1600;            // under the power that matrix products draw
constexpr double kMemoryBytesPerUs = 3.05e6;  // H100's
constexpr double kTileCycles = 900;           // to store a tile

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

double estimated_us(const GemmProblem& problem, const Tiling& tiling, int processors) {
  const PackedShape packed{problem.precision, problem.groups, problem.n, problem.k};
  const std::int64_t tiles_m = ceil_div(problem.rows_per_group, tiling.rows * tiling.cluster_m);
  const std::int64_t tiles = problem.groups * tiles_m *
                             ceil_div(problem.n, tiling.columns * tiling.cluster_n);
  const std::int64_t at_once = std::max(1, processors / tiling.cluster());
  const double cycles = static_cast<double>(packed.k_blocks()) * tiling.block_cycles + kTileCycles;
  const double compute = static_cast<double>(ceil_div(tiles, at_once)) * cycles / kClockMhz;
  const double memory = static_cast<double>(packed.weight_bytes()) / kMemoryBytesPerUs;
  // Whatever is computed or loaded beside the longer of the two hides behind it, but not quite; rows
  // that no group fills cost power and bandwidth.
  const double rows = static_cast<double>(problem.rows_per_group);
  const double filled = rows / static_cast<double>(
                                   std::max<std::int64_t>(1, tiles_m) * tiling.rows * tiling.cluster_m);
  return std::max(compute, memory) + 0.1 * std::min(compute, memory) +
         0.02 * (1 - filled) * std::max(compute, memory);
}

}  // namespace

std::span<const Tiling> tilings(Precision precision) {
  if (precision == Precision::kFp8) {
    return kFp8Tilings;
  }
  return kBf16Tilings;
}

int choose_tiling(const GemmProblem& problem, int processors) {
  const auto all = tilings(problem.precision);
  const auto better = [&](const Tiling& a, const Tiling& b) {
    return estimated_us(problem, a, processors) < estimated_us(problem, b, processors);
  };
  return static_cast<int>(std::min_element(all.begin(), all.end(), better) - all.begin());
}

}  // namespace braid::cuda
