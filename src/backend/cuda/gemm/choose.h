// SPDX-License-Identifier: Apache-2.0
// Which tiling of the GEMM kernel a problem gets: pure host code, no device needed.
#pragma once

#include <cstdint>
#include <span>

#include "backend/cuda/gemm/packed.h"
#include "backend/cuda/gemm/tiling.h"

namespace braid::cuda {

struct GemmProblem {
  Precision precision = Precision::kFp8;
  int groups = 1;                   // that have rows
  std::int64_t rows_per_group = 0;  // expected where the device knows better; all rows if dense
  int n = 0;
  int k = 0;
};

// The tilings that exist, those of an index being the same everywhere.
std::span<const Tiling> tilings(Precision precision);

// Index into tilings(problem.precision) of the one expected to be fastest on a card with that many
// multiprocessors.
int choose_tiling(const GemmProblem& problem, int processors);

}  // namespace braid::cuda
