// SPDX-License-Identifier: Apache-2.0
#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

namespace braid {
namespace {

TEST(DType, EveryF8CodeRoundTrips) {
  for (int code = 0; code < 256; ++code) {
    const float value = f8e4m3_to_f32(static_cast<std::uint8_t>(code));
    if (std::isnan(value)) continue;
    EXPECT_EQ(f32_to_f8e4m3(value), code) << value;
  }
  EXPECT_EQ(f8e4m3_to_f32(0x7e), 448.0f);
  EXPECT_EQ(f32_to_f8e4m3(1e9f), 0x7e);
}

TEST(DType, EveryF16AndBF16CodeRoundTrips) {
  for (int code = 0; code < 65536; ++code) {
    const auto bits = static_cast<std::uint16_t>(code);
    if (!std::isnan(f16_to_f32(bits))) {
      EXPECT_EQ(f32_to_f16(f16_to_f32(bits)), bits);
    }
    if (!std::isnan(bf16_to_f32(bits))) {
      EXPECT_EQ(f32_to_bf16(bf16_to_f32(bits)), bits);
    }
  }
}

TEST(DType, BF16RoundsToNearestEven) {
  EXPECT_EQ(f32_to_bf16(1.0f + 1.0f / 256), f32_to_bf16(1.0f));
  EXPECT_EQ(bf16_to_f32(f32_to_bf16(1.0f + 3.0f / 256)), 1.0f + 4.0f / 256);
}

TEST(TensorView, ReadsTwoFourBitCodesAByteTheLowOneFirst) {
  const std::uint8_t bytes[] = {0x10, 0x32, 0x54, 0x76, 0xf9};
  const TensorView view{bytes, DType::kF4E2M1, {2, 5}};
  const float values[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.5f, -6};
  for (std::int64_t i = 0; i < 10; ++i) EXPECT_EQ(view.at(i), values[i]);
  EXPECT_EQ(view.bytes(), 5u);
}

TEST(TensorView, ReadsPowersOfTwo) {
  const std::uint8_t bytes[] = {127, 128, 0, 254, 255};
  const TensorView view{bytes, DType::kE8M0, {5}};
  EXPECT_EQ(view.at(0), 1);
  EXPECT_EQ(view.at(1), 2);
  EXPECT_EQ(view.at(2), 0x1p-127f);
  EXPECT_EQ(view.at(3), 0x1p127f);
  EXPECT_TRUE(std::isnan(view.at(4)));
}

TEST(Buffer, IsZeroedAndAligned) {
  Buffer small(100), large(std::size_t{5} << 20);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(small.data()) % 64, 0u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(large.data()) % (std::size_t{2} << 20), 0u);
  for (std::size_t i = 0; i < small.size(); ++i) EXPECT_EQ(small.data()[i], std::byte{0});
  Buffer moved = std::move(large);
  EXPECT_EQ(large.data(), nullptr);
  EXPECT_EQ(moved.size(), std::size_t{5} << 20);
}

}  // namespace
}  // namespace braid
