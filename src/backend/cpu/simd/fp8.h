// SPDX-License-Identifier: Apache-2.0
// The codes of ops/fp8_row.h, a group at a time: plain loops that the compiler turns into vectors, with
// the same results everywhere. Included by one source file per instruction set, as portable.h says.
#pragma once

#include <cstdint>

namespace {

// Codes times a power of two, as bfloat16. Each kind of code is shifted to its place, and the exponent added.
inline void decode_fp8(const std::uint8_t* codes, float scale, int n, std::uint16_t* out) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &scale, sizeof(bits));
  const auto exponent = static_cast<std::uint16_t>(bits >> 16);  // with 127, and so is c8
  const auto c8 = static_cast<std::uint16_t>(exponent - (7 << 7)), c4 = static_cast<std::uint16_t>(c8 - (1 << 7));
  const auto c2 = static_cast<std::uint16_t>(c8 - (2 << 7)), c1 = static_cast<std::uint16_t>(c8 - (3 << 7));
  for (int i = 0; i < n; ++i) {
    const std::uint16_t code = codes[i];
    const auto m = static_cast<std::uint16_t>(code & 0x7f);
    auto value = static_cast<std::uint16_t>(static_cast<std::uint16_t>(m << 4) + c8);
    value = m < 8 ? static_cast<std::uint16_t>(static_cast<std::uint16_t>(m << 5) + c4) : value;
    value = m < 4 ? static_cast<std::uint16_t>(static_cast<std::uint16_t>(m << 6) + c2) : value;
    value = m < 2 ? static_cast<std::uint16_t>(static_cast<std::uint16_t>(m << 7) + c1) : value;
    value = m < 1 ? static_cast<std::uint16_t>(0) : value;
    out[i] = static_cast<std::uint16_t>(value | static_cast<std::uint16_t>((code & 0x80) << 8));
  }
}

// Returns the scale.
inline float encode_fp8(const float* x, int n, std::uint8_t* codes) {
  std::uint32_t largest = 0;
  for (int i = 0; i < n; ++i) {
    std::uint32_t bits;
    __builtin_memcpy(&bits, x + i, sizeof(bits));
    bits &= 0x7fffffffu;
    largest = bits > largest ? bits : largest;
  }
  int exponent = static_cast<int>(largest >> 23) - 127 - 8 + ((largest & 0x7fffffu) > 0x600000u ? 1 : 0);
  exponent = exponent < -100 || largest == 0 ? -100 : exponent > 100 || largest >= 0x7f800000u ? 100 : exponent;
  const std::uint32_t powers[2] = {static_cast<std::uint32_t>(127 + exponent) << 23, static_cast<std::uint32_t>(127 - exponent) << 23};
  float scale, inverse;
  __builtin_memcpy(&scale, &powers[0], sizeof(scale));
  __builtin_memcpy(&inverse, &powers[1], sizeof(inverse));
  for (int i = 0; i < n; ++i) {
    const float y = x[i] * inverse;
    std::uint32_t bits, low;
    __builtin_memcpy(&bits, &y, sizeof(bits));
    const std::uint32_t sign = bits >> 31 << 7;
    bits &= 0x7fffffffu;
    float shifted;
    __builtin_memcpy(&shifted, &bits, sizeof(shifted));
    shifted += 16384.0f;  // whose unit is the smallest code's
    __builtin_memcpy(&low, &shifted, sizeof(low));
    const std::uint32_t rounded = (bits + 0x7ffffu + ((bits >> 20) & 1u)) >> 20;
    std::uint32_t code = bits < 0x3c800000u ? low - 0x46800000u : rounded - 960u;
    code = code > 0x7eu ? 0x7eu : code;
    codes[i] = static_cast<std::uint8_t>(code | sign);
  }
  return scale;
}

}  // namespace
