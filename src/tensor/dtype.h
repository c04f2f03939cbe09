// SPDX-License-Identifier: Apache-2.0
// Element types. BF16, F16 and F8E4M3 (OCP e4m3fn: no infinity, NaN = S.1111.111) are stored as
// raw bits; conversions below are exact towards float and round to nearest even from it.
// F4E2M1 (OCP) is a code of four bits, two to a byte, the first in the low half; E8M0 a power of two.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace braid {

enum class DType : std::uint8_t { kF32, kBF16, kF16, kF8E4M3, kI8, kU8, kI32, kI64, kF4E2M1, kE8M0 };

std::size_t size_of(DType dtype);  // bytes; 0 for kF4E2M1
std::size_t bytes_of(DType dtype, std::int64_t elements);
std::string_view name_of(DType dtype);  // "float32", "bfloat16", "float8_e4m3fn", ...

float bf16_to_f32(std::uint16_t bits);
std::uint16_t f32_to_bf16(float value);
float f16_to_f32(std::uint16_t bits);
std::uint16_t f32_to_f16(float value);
float f8e4m3_to_f32(std::uint8_t bits);
std::uint8_t f32_to_f8e4m3(float value);  // saturates at +-448
float f4e2m1_to_f32(std::uint8_t code);   // of the low four bits
float e8m0_to_f32(std::uint8_t code);     // 2^(code - 127); 255 is NaN

}  // namespace braid
