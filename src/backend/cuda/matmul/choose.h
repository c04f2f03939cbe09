// SPDX-License-Identifier: Apache-2.0
// Which tile multiplies a problem: pure host code, no influence on results.
#pragma once

#include <cstdint>

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

TileConfig choose_tile(const MatmulProblem& problem);

}  // namespace braid::cuda
