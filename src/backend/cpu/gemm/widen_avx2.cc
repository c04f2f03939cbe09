// SPDX-License-Identifier: Apache-2.0
// Matrix kernels with AVX2 and FMA: 6 x 16 tiles (12 accumulators, 2 weights, 1 broadcast of 16
// registers). e4m3 as in widen_scalar.cc, eight codes at once.
#include "backend/cpu/gemm/widen_body.h"
#include "backend/cpu/simd/avx2.h"

namespace {

template <>
inline Avx2::F LoadF8::load<Avx2>(const unsigned char* p) {
  const __m256i codes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  const __m256i magnitude =
      _mm256_slli_epi32(_mm256_and_si256(codes, _mm256_set1_epi32(0x7f)), 20);
  const __m256i sign = _mm256_slli_epi32(_mm256_srli_epi32(codes, 7), 31);
  const __m256 value = _mm256_mul_ps(_mm256_castsi256_ps(magnitude), _mm256_set1_ps(0x1p120f));
  return _mm256_or_ps(value, _mm256_castsi256_ps(sign));
}

}  // namespace

namespace braid::cpu {

extern const MicroTier kAvx2Gemm = widen_tier<Avx2, 6>();

}  // namespace braid::cpu
