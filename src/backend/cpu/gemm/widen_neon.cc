// SPDX-License-Identifier: Apache-2.0
// Matrix kernels with NEON: 8 x 8 tiles (16 accumulators, 2 weights, 1 broadcast of 32 registers).
// e4m3 as in widen_scalar.cc, four codes at once.
#include "backend/cpu/gemm/widen_body.h"
#include "backend/cpu/simd/neon.h"

namespace {

template <>
inline Neon::F LoadF8::load<Neon>(const unsigned char* p) {
  std::uint32_t four;
  __builtin_memcpy(&four, p, sizeof(four));
  const uint8x8_t bytes = vreinterpret_u8_u32(vdup_n_u32(four));
  const uint32x4_t codes = vmovl_u16(vget_low_u16(vmovl_u8(bytes)));
  const uint32x4_t magnitude = vshlq_n_u32(vandq_u32(codes, vdupq_n_u32(0x7f)), 20);
  const float32x4_t value = vmulq_n_f32(vreinterpretq_f32_u32(magnitude), 0x1p120f);
  const uint32x4_t sign = vshlq_n_u32(vshrq_n_u32(codes, 7), 31);
  return vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(value), sign));
}

}  // namespace

namespace braid::cpu {

extern const MicroTier kNeonGemm = widen_tier<Neon, 8>();

}  // namespace braid::cpu
