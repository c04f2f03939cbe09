// SPDX-License-Identifier: Apache-2.0
#include "ops/fp8_row.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "ops/reference/fixture.h"

namespace braid::ops {
namespace {

TEST(Fp8Row, TakesABitMoreThanHalfOfABFloat16Row) {
  EXPECT_EQ(Fp8Row::latent(512, 64).bytes(), 512 + 16 + 128);
  EXPECT_EQ(Fp8Row::keys_and_values(8, 128).bytes(), 2 * 8 * (128 + 4));
  EXPECT_EQ(Fp8Row::latent(129, 3).bytes(), 160) << "132 codes, 8 of scales, 6 plain, to a multiple of 16";
}

TEST(Fp8Row, GivesBackWhatItTookButForTheRounding) {
  const Fp8Row row{200, 64, 9};
  for (const float size : {1e-20f, 0.01f, 1.0f, 900.0f, 1e20f}) {
    auto x = reference::random_values(209, 3, size);
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(row.bytes()));
    row.put(bytes.data(), x.data());
    for (int i = 0; i < 209; ++i) {
      const float got = row.at(bytes.data(), i), relative = i < 200 ? 1.0f / 16 : 1.0f / 256;
      EXPECT_NEAR(got, x[static_cast<std::size_t>(i)], std::fabs(x[static_cast<std::size_t>(i)]) * relative + size / 448 / 512) << i;
      EXPECT_EQ(bf16_to_f32(f32_to_bf16(got)), got) << "is a bfloat16 number";
    }
  }
}

TEST(Fp8Row, ScalesArePowersOfTwoThatUseTheWholeRange) {
  const Fp8Row row{6, 2, 0};
  const float x[] = {448, -1, 449, 1, 0, 0};
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(row.bytes()));
  row.put(bytes.data(), x);
  EXPECT_EQ(bytes[0], 0x7e);
  EXPECT_EQ(row.at(bytes.data(), 0), 448);
  EXPECT_EQ(row.at(bytes.data(), 2), 448);
  EXPECT_EQ(reinterpret_cast<const float*>(bytes.data() + row.scales_at())[1], 2);
  EXPECT_EQ(row.at(bytes.data(), 4), 0);
}

TEST(Fp8Row, WhatIsNotFiniteIsTheLargestNumber) {
  const Fp8Row row{4, 4, 0};
  const float x[] = {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), std::nanf(""), 1};
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(row.bytes()));
  row.put(bytes.data(), x);
  const float largest = std::ldexp(448.0f, 100);
  EXPECT_EQ(row.at(bytes.data(), 0), largest);
  EXPECT_EQ(row.at(bytes.data(), 1), -largest);
  EXPECT_EQ(row.at(bytes.data(), 2), largest);
  EXPECT_EQ(row.at(bytes.data(), 3), 0);
}

}  // namespace
}  // namespace braid::ops
