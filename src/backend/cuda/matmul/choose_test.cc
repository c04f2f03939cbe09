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

const Capabilities kHopper{"cuda", {"sm_80", "sm_90a"}}, kAmpere{"cuda", {"sm_80"}};

TEST(HopperSupport, Bfloat16WeightsRunOnHopperAlone) {
  const ops::Linear::Problem linear{DType::kBF16, ops::WeightFormat::kBF16, 4096, 2048};
  EXPECT_EQ(hopper_linear_support(linear, kHopper), "");
  EXPECT_NE(hopper_linear_support(linear, kAmpere), "");
  EXPECT_EQ(hopper_mlp_support({DType::kBF16, ops::WeightFormat::kBF16, 2048, 1408}, kHopper), "");
}

TEST(HopperSupport, Fp8WeightsNeedTheConsentToRoundActivations) {
  ops::Linear::Problem linear{DType::kBF16, ops::WeightFormat::kF8, 4096, 2048};
  ops::GroupedMlp::Problem mlp{DType::kBF16, ops::WeightFormat::kF8, 2048, 1408};
  EXPECT_NE(hopper_linear_support(linear, kHopper), "");
  EXPECT_NE(hopper_mlp_support(mlp, kHopper), "");
  linear.f8_activations = mlp.f8_activations = true;
  EXPECT_EQ(hopper_linear_support(linear, kHopper), "");
  EXPECT_EQ(hopper_mlp_support(mlp, kHopper), "");
}

TEST(HopperSupport, Float32AndBatchesAreLeftToOthers) {
  EXPECT_NE(hopper_linear_support({DType::kF32, ops::WeightFormat::kF32, 64, 2048}, kHopper), "");
  EXPECT_NE(hopper_linear_support({DType::kBF16, ops::WeightFormat::kBF16, 128, 512, 16}, kHopper), "");
  EXPECT_NE(hopper_linear_support({DType::kBF16, ops::WeightFormat::kBF16, 128, 30}, kHopper), "");
}

TEST(DescribeGemm, OnlyGroupsThatCanHaveRowsCount) {
  const GemmProblem one = describe_gemm(Precision::kBf16, 7, 65, 2816, 2048);
  EXPECT_EQ(one.groups, 7);
  EXPECT_EQ(one.rows_per_group, 1);
  const GemmProblem many = describe_gemm(Precision::kFp8, 28672, 65, 2810, 2040);
  EXPECT_EQ(many.groups, 65);
  EXPECT_EQ(many.rows_per_group, 442);
  EXPECT_EQ(many.n % 8, 0);
  EXPECT_EQ(many.k % 16, 0);
}

TEST(ChooseFewRows, ShareKWhereTheirOutputsAreFew) {
  const auto split = [](Precision precision, int groups, std::int64_t rows, int n, int k) {
    return few_rows_split({precision, groups, (rows + groups - 1) / groups, n, k}, rows, 132);
  };
  EXPECT_EQ(split(Precision::kFp8, 1, 1, 2048, 4096), 4);
  EXPECT_EQ(split(Precision::kFp8, 1, 1, 5120, 2048), 2);
  EXPECT_EQ(split(Precision::kFp8, 8, 8, 1536, 2048), 1);
  EXPECT_EQ(split(Precision::kFp8, 1, 2, 2112, 7168), 4);
  EXPECT_EQ(split(Precision::kBf16, 1, 8, 2048, 2048), 1) << "bfloat16 is summed in one chain";
  EXPECT_EQ(split(Precision::kFp8, 1, 3, 2048, 4096), 0);
  EXPECT_EQ(split(Precision::kBf16, 1, 9, 2048, 2048), 0);
  EXPECT_EQ(split(Precision::kBf16, 1, 1, 2048, 10944), 0) << "rows of one tile lie in shared memory whole";
  EXPECT_EQ(split(Precision::kBf16, 1, 1, 102400, 2048), 0) << "many outputs";
}

TEST(ChooseFewRows, WhatIsChosenFitsSharedMemory) {
  for (const Precision precision : {Precision::kFp8, Precision::kBf16}) {
    for (int k = 16; k <= 20000; k += 112) {
      for (int n = 8; n <= 20000; n = n * 3 / 2) {
        for (const int groups : {1, 8}) {
          const int split = few_rows_split({precision, groups, 1, n, k}, groups, 132);
          const int k_blocks = PackedShape{precision, 1, n, k}.k_blocks();
          if (split > 0) ASSERT_LE(FewRowsMap(k_blocks, split).bytes(), kMostSharedBytes) << n << " x " << k << " by " << split;
        }
      }
    }
  }
}

}  // namespace
}  // namespace braid::cuda
