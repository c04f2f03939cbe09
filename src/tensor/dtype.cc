// SPDX-License-Identifier: Apache-2.0
#include "tensor/dtype.h"

#include <bit>
#include <cmath>

namespace braid {

std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32: return 4;
    case DType::kBF16:
    case DType::kF16: return 2;
    case DType::kF8E4M3:
    case DType::kI8:
    case DType::kU8:
    case DType::kE8M0: return 1;
    case DType::kI64: return 8;
    case DType::kF4E2M1: return 0;
  }
  return 0;
}

std::size_t bytes_of(DType dtype, std::int64_t elements) {
  const auto count = static_cast<std::size_t>(elements);
  return dtype == DType::kF4E2M1 ? (count + 1) / 2 : count * size_of(dtype);
}

std::string_view name_of(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "float32";
    case DType::kBF16: return "bfloat16";
    case DType::kF16: return "float16";
    case DType::kF8E4M3: return "float8_e4m3fn";
    case DType::kI8: return "int8";
    case DType::kU8: return "uint8";
    case DType::kI32: return "int32";
    case DType::kI64: return "int64";
    case DType::kF4E2M1: return "float4_e2m1fn";
    case DType::kE8M0: return "float8_e8m0fnu";
  }
  return "unknown";
}

float bf16_to_f32(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

std::uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

float f16_to_f32(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  const float sign = bits & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

std::uint16_t f32_to_f16(float value) {
  const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const float a = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7e00;
  if (a >= 65520.0f) return sign | 0x7c00;
  if (a < std::ldexp(1.0f, -14)) {
    return static_cast<std::uint16_t>(sign | static_cast<int>(std::nearbyint(std::ldexp(a, 24))));
  }
  int exponent;
  const float fraction = std::frexp(a, &exponent);
  const int mantissa = static_cast<int>(std::nearbyint(std::ldexp(fraction, 11)));
  return static_cast<std::uint16_t>(sign | (((exponent + 14) << 10) + mantissa - 1024));
}

float f8e4m3_to_f32(std::uint8_t bits) {
  const int exponent = (bits >> 3) & 15;
  const int mantissa = bits & 7;
  const float sign = bits & 0x80 ? -1.0f : 1.0f;
  if (exponent == 15 && mantissa == 7) return NAN;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -9);
  return sign * std::ldexp(static_cast<float>(mantissa + 8), exponent - 10);
}

float f4e2m1_to_f32(std::uint8_t code) {
  constexpr float kMagnitudes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  return code & 8 ? -kMagnitudes[code & 7] : kMagnitudes[code & 7];
}

float e8m0_to_f32(std::uint8_t code) { return code == 255 ? NAN : std::ldexp(1.0f, code - 127); }

std::uint8_t f32_to_f8e4m3(float value) {
  const std::uint8_t sign = std::signbit(value) ? 0x80 : 0;
  const float a = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7f;
  if (a >= 448.0f) return sign | 0x7e;
  if (a < std::ldexp(1.0f, -6)) {
    return static_cast<std::uint8_t>(sign | static_cast<int>(std::nearbyint(std::ldexp(a, 9))));
  }
  int exponent;
  const float fraction = std::frexp(a, &exponent);
  const int mantissa = static_cast<int>(std::nearbyint(std::ldexp(fraction, 4)));
  return static_cast<std::uint8_t>(sign | (((exponent + 6) << 3) + mantissa - 8));
}

}  // namespace braid
