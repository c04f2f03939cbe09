// SPDX-License-Identifier: Apache-2.0
#include "ops/fp8_row.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tensor/dtype.h"

namespace braid::ops {
namespace {

float scale_of(const float* x, int count) {
  float largest = 0;
  for (int i = 0; i < count; ++i) largest = std::isfinite(x[i]) ? std::max(largest, std::fabs(x[i])) : INFINITY;
  if (std::isinf(largest)) return std::ldexp(1.0f, 100);
  int exponent = 0;
  const float fraction = std::frexp(largest, &exponent);  // 448 is 0.875 * 2^9
  return std::ldexp(1.0f, largest == 0 ? -100 : std::clamp(exponent - (fraction <= 0.875f ? 9 : 8), -100, 100));
}

}  // namespace

float Fp8Row::at(const void* row, std::int64_t i) const {
  const auto* bytes = static_cast<const std::uint8_t*>(row);
  if (i >= elements) {
    std::uint16_t bits;
    std::memcpy(&bits, bytes + plain_at() + 2 * (i - elements), sizeof(bits));
    return bf16_to_f32(bits);
  }
  float scale;
  std::memcpy(&scale, bytes + scales_at() + 4 * (i / group), sizeof(scale));
  return f8e4m3_to_f32(bytes[i]) * scale;
}

void Fp8Row::put(void* row, const float* x) const {
  auto* bytes = static_cast<std::uint8_t*>(row);
  for (int g = 0; g < groups(); ++g) {
    const int first = g * group, count = std::min(group, elements - first);
    const float scale = scale_of(x + first, count);
    std::memcpy(bytes + scales_at() + 4 * g, &scale, sizeof(scale));
    for (int i = first; i < first + count; ++i) {
      bytes[i] = std::isnan(x[i]) ? (std::signbit(x[i]) ? 0xfe : 0x7e) : f32_to_f8e4m3(x[i] / scale);
    }
  }
  for (int i = 0; i < plain; ++i) {
    const std::uint16_t bits = f32_to_bf16(x[elements + i]);
    std::memcpy(bytes + plain_at() + 2 * i, &bits, sizeof(bits));
  }
}

}  // namespace braid::ops
