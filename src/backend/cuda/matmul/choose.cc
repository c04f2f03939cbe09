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

}  // namespace

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
