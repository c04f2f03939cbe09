// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/matmul/choose.h"

#include <gtest/gtest.h>

#include <random>

namespace braid::cuda {
namespace {

TEST(ChooseTile, FewRowsTakeSmallTilesAndManyTakeLargeOnes) {
  EXPECT_FALSE(choose_tile({.rows = 1, .columns = 4096, .processors = 132}).large);
  EXPECT_FALSE(choose_tile({.rows = 32, .columns = 4096, .processors = 132}).large);
  EXPECT_TRUE(choose_tile({.rows = 4096, .columns = 4096, .processors = 132}).large);
  EXPECT_FALSE(choose_tile({.rows = 512, .groups = 64, .columns = 4096, .processors = 132}).large);
}

TEST(ChooseTile, AnUnevenSpreadOfRowsAlwaysHasEnoughTiles) {
  std::mt19937 random(5);
  for (int round = 0; round < 2000; ++round) {
    const int groups = 1 + static_cast<int>(random() % 40);
    std::vector<std::int64_t> sizes(static_cast<std::size_t>(groups));
    std::int64_t rows = 0;
    for (auto& size : sizes) rows += size = random() % 3 ? 0 : random() % 200;
    if (rows == 0) continue;
    const TileConfig config = choose_tile({.rows = rows, .groups = groups, .columns = 64, .processors = 132});
    const std::int64_t of = config.large ? 128 : 16;
    std::int64_t needed = 0;
    for (const auto size : sizes) needed += (size + of - 1) / of;
    ASSERT_LE(needed, config.row_tiles) << rows << " rows in " << groups << " groups";
  }
}

TEST(ChooseTile, NarrowTilesFillTheProcessorsWhereWideOnesDoNot) {
  EXPECT_EQ(choose_tile({.rows = 1, .columns = 2048, .processors = 132}).small_columns, 8);
  EXPECT_EQ(choose_tile({.rows = 1, .columns = 102400, .processors = 132}).small_columns, 32);
}

}  // namespace
}  // namespace braid::cuda
