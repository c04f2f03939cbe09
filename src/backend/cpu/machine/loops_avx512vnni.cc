// SPDX-License-Identifier: Apache-2.0
// Dot-product instructions: VDPBF16PS (2 products a lane) and VPDPBUSD (4 products a lane).
#include <immintrin.h>

#include "backend/cpu/machine/loops_body.h"

namespace {

void bf16_loop(std::int64_t iterations) {
  __m512 c[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) c[i] = _mm512_setzero_ps();
  int bits = 0x3f803f80;
  keep(bits);
  const auto a = reinterpret_cast<__m512bh>(_mm512_set1_epi32(bits));
  for (std::int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) c[i] = _mm512_dpbf16_ps(c[i], a, a);
  }
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) keep(c[i]);
}

void int8_loop(std::int64_t iterations) {
  __m512i c[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) c[i] = _mm512_setzero_si512();
  int bits = 0x01020304;
  keep(bits);
  const __m512i a = _mm512_set1_epi32(bits);
  for (std::int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) c[i] = _mm512_dpbusd_epi32(c[i], a, a);
  }
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) keep(c[i]);
}

}  // namespace

namespace braid::cpu {

extern const PeakLoop kAvx512Bf16Peak = {bf16_loop, 4.0 * 16 * kSums};
extern const PeakLoop kAvx512Int8Peak = {int8_loop, 8.0 * 16 * kSums};

}  // namespace braid::cpu
