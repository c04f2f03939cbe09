// SPDX-License-Identifier: Apache-2.0
#include "moe/all2all/fp8_rows.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

namespace braid::moe {
namespace {

constexpr float kLargestCode = 448.0f;
constexpr float kSmallestPeak = 1e-4f;

std::size_t codes_bytes(std::int64_t columns) { return (static_cast<std::size_t>(columns) + 3) / 4 * 4; }

// Nearest even, of values within +-448; without branches, so that the loop over a group vectorises.
std::uint8_t code_of(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = bits >> 24 & 0x80, magnitude = bits & 0x7fffffff;
  const std::uint32_t normal = (magnitude + 0x7ffff + (magnitude >> 20 & 1) - (120u << 23)) >> 20;
  const float small = std::bit_cast<float>(magnitude) + 16384.0f;  // steps of 2^-9: the subnormal codes
  const std::uint32_t subnormal = std::bit_cast<std::uint32_t>(small) - std::bit_cast<std::uint32_t>(16384.0f);
  const std::uint32_t finite = magnitude < (121u << 23) ? subnormal : normal;
  return static_cast<std::uint8_t>(sign | (magnitude > 0x7f800000 ? 0x7f : finite));
}

float element(const std::byte* row, DType dtype, std::int64_t i) {
  if (dtype == DType::kF32) return reinterpret_cast<const float*>(row)[i];
  return std::bit_cast<float>(static_cast<std::uint32_t>(reinterpret_cast<const std::uint16_t*>(row)[i]) << 16);
}

const std::array<float, 256>& values_of_codes() {
  static const auto values = [] {
    std::array<float, 256> all;
    for (std::size_t code = 0; code < all.size(); ++code) all[code] = f8e4m3_to_f32(static_cast<std::uint8_t>(code));
    return all;
  }();
  return values;
}

}  // namespace

std::size_t fp8_row_bytes(std::int64_t columns) {
  return codes_bytes(columns) + static_cast<std::size_t>((columns + kFp8Group - 1) / kFp8Group) * sizeof(float);
}

void encode_fp8(const std::byte* row, DType dtype, std::int64_t columns, std::byte* out) {
  auto* codes = reinterpret_cast<std::uint8_t*>(out);
  std::byte* scales = out + codes_bytes(columns);
  float group[kFp8Group];
  for (std::int64_t first = 0; first < columns; first += kFp8Group, scales += sizeof(float)) {
    const std::int64_t count = std::min(kFp8Group, columns - first);
    float peak = kSmallestPeak;
    for (std::int64_t i = 0; i < count; ++i) {
      group[i] = element(row, dtype, first + i);
      peak = std::max(peak, std::fabs(group[i]));
    }
    const float scale = peak / kLargestCode, factor = kLargestCode / peak;
    for (std::int64_t i = 0; i < count; ++i) codes[first + i] = code_of(std::clamp(group[i] * factor, -kLargestCode, kLargestCode));
    std::memcpy(scales, &scale, sizeof scale);
  }
}

void decode_fp8(const std::byte* in, std::int64_t columns, DType dtype, std::byte* row) {
  const auto& values = values_of_codes();
  const auto* codes = reinterpret_cast<const std::uint8_t*>(in);
  const std::byte* scales = in + codes_bytes(columns);
  for (std::int64_t first = 0; first < columns; first += kFp8Group, scales += sizeof(float)) {
    float scale = 0;
    std::memcpy(&scale, scales, sizeof scale);
    const std::int64_t end = std::min(columns, first + kFp8Group);
    for (std::int64_t i = first; i < end; ++i) {
      const float value = values[codes[i]] * scale;
      if (dtype == DType::kF32) reinterpret_cast<float*>(row)[i] = value;
      else reinterpret_cast<std::uint16_t*>(row)[i] = f32_to_bf16(value);
    }
  }
}

}  // namespace braid::moe
