// SPDX-License-Identifier: Apache-2.0
#include "moe/all2all/fp8_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace braid::moe {
namespace {

std::vector<float> there_and_back(const std::vector<float>& x) {
  const auto columns = static_cast<std::int64_t>(x.size());
  std::vector<std::byte> wire(fp8_row_bytes(columns));
  encode_fp8(reinterpret_cast<const std::byte*>(x.data()), DType::kF32, columns, wire.data());
  std::vector<float> out(x.size());
  decode_fp8(wire.data(), columns, DType::kF32, reinterpret_cast<std::byte*>(out.data()));
  return out;
}

TEST(Fp8Rows, AreOffByASixteenthAtMost) {
  std::mt19937 random(3);
  for (const std::size_t columns : {1u, 7u, 127u, 128u, 129u, 1000u}) {
    for (const float spread : {1e-3f, 1.0f, 1e6f}) {
      std::vector<float> x(columns);
      for (float& v : x) v = std::ldexp((static_cast<float>(random() >> 8) / 8388608.0f - 1) * spread, -static_cast<int>(random() % 20));
      const auto y = there_and_back(x);
      for (std::size_t i = 0; i < columns; ++i) {
        const auto group = x.begin() + static_cast<std::ptrdiff_t>(i / kFp8Group * kFp8Group);
        float peak = 1e-4f;
        for (auto g = group; g != x.end() && g - group < kFp8Group; ++g) peak = std::max(peak, std::fabs(*g));
        ASSERT_NEAR(y[i], x[i], std::fabs(x[i]) * 0.0626f + peak * 2.2e-6f) << "column " << i << " of " << columns;
      }
    }
  }
}

TEST(Fp8Rows, CodesAreThoseOfTheElementType) {
  std::vector<float> x(128);
  std::mt19937 random(5);
  x[0] = 448;  // a scale of 1
  for (std::size_t i = 1; i < x.size(); ++i) x[i] = std::ldexp(static_cast<float>(random() % 4096) - 2048, -static_cast<int>(random() % 22) - 3);
  std::vector<std::byte> wire(fp8_row_bytes(128));
  encode_fp8(reinterpret_cast<const std::byte*>(x.data()), DType::kF32, 128, wire.data());
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(std::to_integer<int>(wire[i]), f32_to_f8e4m3(x[i])) << x[i];
}

TEST(Fp8Rows, WhatIsNotFiniteStaysSo) {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")}) {
    EXPECT_FALSE(std::isfinite(there_and_back({1, bad, 2})[1]));
  }
}

TEST(Fp8Rows, ZerosStayZero) { EXPECT_EQ(there_and_back(std::vector<float>(200)), std::vector<float>(200)); }

}  // namespace
}  // namespace braid::moe
