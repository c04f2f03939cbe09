// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/gemm/choose.h"

#include <gtest/gtest.h>

#include <vector>

namespace braid::cuda {
namespace {

constexpr int kH100 = 132;

Tiling chosen(const GemmProblem& problem) {
  return tilings(problem.precision)[choose_tiling(problem, kH100)];
}

TEST(ChooseTiling, ManyRowsGetLargeTilesInClusters) {
  for (const Precision precision : {Precision::kFp8, Precision::kBf16}) {
    for (const int groups : {1, 4, 8}) {
      const Tiling tiling = chosen({precision, groups, 8192, 4096, 7168});
      EXPECT_GE(tiling.rows * tiling.columns, 192 * 128);
      EXPECT_EQ(tiling.cluster(), 2);
    }
  }
}

TEST(ChooseTiling, FewRowsOfManyGroupsGetTilesWithoutEmptyRows) {
  for (const Precision precision : {Precision::kFp8, Precision::kBf16}) {
    for (const int rows : {1, 8, 16, 64}) {
      const Tiling tiling = chosen({precision, 128, rows, 4096, 7168});
      EXPECT_EQ(tiling.rows, 64);
      EXPECT_EQ(tiling.cluster(), 1);
    }
  }
}

TEST(ChooseTiling, AFewRowsLoadOnlyTheirBox) {
  EXPECT_EQ(chosen({Precision::kFp8, 128, 8, 4096, 7168}).box_rows, 16);
}

TEST(ChooseTiling, OneGroupOfFewRowsIsSpreadOverTheCard) {
  const Tiling tiling = chosen({Precision::kFp8, 1, 64, 4096, 7168});
  EXPECT_LE(tiling.columns, 64);
}

TEST(ChooseTiling, EverySizeGetsATiling) {
  for (const Precision precision : {Precision::kFp8, Precision::kBf16}) {
    for (const int groups : {1, 7, 256}) {
      for (const int rows : {0, 1, 100, 100000}) {
        for (const int n : {8, 2112, 129280}) {
          for (const int processors : {1, 66, 132}) {
            const GemmProblem problem{precision, groups, rows, n, 2048};
            const int tiling = choose_tiling(problem, processors);
            EXPECT_GE(tiling, 0);
            EXPECT_LT(tiling, static_cast<int>(tilings(precision).size()));
          }
        }
      }
    }
  }
}

TEST(PackedWeights, TailsArePaddedToWholeTiles) {
  const PackedShape shape{Precision::kFp8, 2, 2112, 7168};
  EXPECT_EQ(shape.n_blocks(), 17);
  EXPECT_EQ(shape.k_blocks(), 56);
  EXPECT_EQ(shape.weight_bytes(), std::size_t{2} * 17 * 56 * 16384);
  EXPECT_EQ(shape.scale_bytes(), std::size_t{2} * 17 * 56 * 16);
  EXPECT_EQ((PackedShape{Precision::kBf16, 1, 128, 65}.k_blocks()), 2);
}

TEST(PackedWeights, ATileHoldsEachByteOnce) {
  std::vector<int> seen(kTileBytes);
  for (int row = 0; row < kTileOutputs; ++row) {
    for (int byte = 0; byte < kTileRowBytes; ++byte) {
      ++seen.at(tile_offset(row, byte));
    }
  }
  EXPECT_EQ(seen, std::vector<int>(kTileBytes, 1));
}

}  // namespace
}  // namespace braid::cuda
