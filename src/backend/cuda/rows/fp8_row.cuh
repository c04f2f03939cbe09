// SPDX-License-Identifier: Apache-2.0
// Rows of an FP8 cache (ops/fp8_row.h) as kernels read and write them.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include "ops/fp8_row.h"

namespace braid::cuda {

// What scale_of() there is given for an element.
__device__ inline float fp8_size(float x) { return isfinite(x) ? fabsf(x) : INFINITY; }

// The scale of a group whose largest fp8_size() is given.
__device__ inline float fp8_scale(float largest) {
  const int bits = __float_as_int(largest), exponent = (bits >> 23) - 126;  // of a fraction from 1/2 on
  if (exponent > 128) return __int_as_float((100 + 127) << 23);
  const int wanted = exponent - ((bits & 0x7fffff) <= 0x600000 ? 9 : 8);
  return __int_as_float((max(-100, min(100, wanted)) + 127) << 23);
}

__device__ inline unsigned char fp8_code(float x, float scale) {
  if (isnan(x)) return signbit(x) ? 0xfe : 0x7e;
  return __nv_cvt_float_to_fp8(x / scale, __NV_SATFINITE, __NV_E4M3);
}

__device__ inline void put_scale(void* row, const ops::Fp8Row& shape, int group, float scale) {
  *reinterpret_cast<float*>(static_cast<char*>(row) + shape.scales_at() + 4 * group) = scale;
}

__device__ inline void put_plain(void* row, const ops::Fp8Row& shape, int i, float x) {
  reinterpret_cast<__nv_bfloat16*>(static_cast<char*>(row) + shape.plain_at())[i] = __float2bfloat16_rn(x);
}

__device__ inline float fp8_to_float(unsigned char code) {
  return __half2float(__half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3)));
}

// Element i, plain ones behind the codes.
__device__ inline float fp8_at(const void* row, const ops::Fp8Row& shape, int i) {
  const char* const bytes = static_cast<const char*>(row);
  if (i >= shape.elements) return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(bytes + shape.plain_at())[i - shape.elements]);
  const float scale = reinterpret_cast<const float*>(bytes + shape.scales_at())[i / shape.group];
  return fp8_to_float(static_cast<unsigned char>(bytes[i])) * scale;
}

// Four codes as bfloat16 without their scale, exact: the first and the third, the second and the fourth. An exponent
// of four bits becomes one of eight whose bias is larger by 120. No code is NaN.
__device__ __forceinline__ void fp8_to_bf16(std::uint32_t codes, std::uint32_t& even, std::uint32_t& odd) {
  constexpr std::uint32_t kSigns = 0x80008000, kRest = 0x07f007f0;
  const __nv_bfloat162 bias = __halves2bfloat162(__ushort_as_bfloat16(0x7b80), __ushort_as_bfloat16(0x7b80));  // 2^120
  const auto unpack = [&](std::uint32_t rest, std::uint32_t signs) {
    const std::uint32_t bits = (rest & kRest) | (signs & kSigns);
    const __nv_bfloat162 pair = __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&bits), bias);
    return *reinterpret_cast<const std::uint32_t*>(&pair);
  };
  even = unpack(codes << 4, codes << 8);
  odd = unpack(codes >> 4, codes);
}

// Four codes of a group as they follow each other; exact.
__device__ __forceinline__ uint2 fp8_to_bf16(std::uint32_t codes, float scale) {
  std::uint32_t even, odd;
  fp8_to_bf16(codes, even, odd);
  const __nv_bfloat162 both = __float2bfloat162_rn(scale);
  uint2 out = {__byte_perm(even, odd, 0x5410), __byte_perm(even, odd, 0x7632)};
  auto* const pairs = reinterpret_cast<__nv_bfloat162*>(&out);
  for (int i = 0; i < 2; ++i) pairs[i] = __hmul2(pairs[i], both);
  return out;
}

}  // namespace braid::cuda
