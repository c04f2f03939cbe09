// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/gemm/choose.h"

#include <algorithm>

#include "backend/cuda/gemm/tilings.h"

namespace braid::cuda {
namespace {

constexpr double kClockMhz = 1650;             // under the power that matrix products draw
constexpr double kMemoryBytesPerUs = 3.05e6;   // H100's
constexpr double kArrivalBytesPerCycle = 36;   // what one multiprocessor receives at best
constexpr double kTileCycles = 1200;           // to begin and to store a tile

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Share of the tensor cores' cycles in which they multiply, as measured with full tiles.
double share(const Tiling& tiling) { return tiling.math_groups() >= 3 ? 0.87 : 0.72; }

// Cycles of a multiprocessor for one block of k of one tile.
double block_cycles(const Tiling& tiling, std::int64_t rows) {
  const double rows_here = static_cast<double>(std::min<std::int64_t>(rows, tiling.rows));
  const double waves = static_cast<double>(ceil_div(static_cast<std::int64_t>(rows_here), 64));
  const double math = waves * tiling.columns * 2 / share(tiling);
  const double loaded = ceil_div(static_cast<std::int64_t>(rows_here), tiling.box_rows) *
                            static_cast<double>(tiling.box_rows) +
                        tiling.columns;
  return std::max(math, loaded * kTileRowBytes / kArrivalBytesPerCycle);
}

double estimated_us(const GemmProblem& problem, const Tiling& tiling, int processors) {
  const PackedShape packed{problem.precision, problem.groups, problem.n, problem.k};
  const std::int64_t tiles =
      problem.groups * ceil_div(problem.rows_per_group, tiling.rows * tiling.cluster_m) *
      ceil_div(problem.n, tiling.columns * tiling.cluster_n);
  const std::int64_t at_once = std::max(1, processors / tiling.cluster());
  const double cycles =
      packed.k_blocks() * block_cycles(tiling, problem.rows_per_group) + kTileCycles;
  const double memory = static_cast<double>(packed.weight_bytes()) / kMemoryBytesPerUs;
  // Tiles that wait for memory take their turns evenly; those that compute go in rounds.
  const double even = static_cast<double>(tiles) / static_cast<double>(at_once);
  const double compute = static_cast<double>(ceil_div(tiles, at_once)) * cycles / kClockMhz;
  const bool empty_rows = problem.rows_per_group < tiling.rows * tiling.cluster_m;
  return (std::max(compute, memory) + 0.1 * std::min(even * cycles / kClockMhz, memory)) *
         (empty_rows ? 1.01 : 1.0);
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
