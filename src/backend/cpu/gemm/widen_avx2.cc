// SPDX-License-Identifier: Apache-2.0
// Matrix kernels with AVX2 and FMA: 6 x 16 tiles (12 accumulators, 2 weights, 1 broadcast of 16
// registers). e4m3 as in widen_scalar.cc, eight codes at once.
#include "backend/cpu/gemm/widen_body.h"
#include "backend/cpu/simd/avx2.h"

namespace {

inline __m256i eight(const unsigned char* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}

template <>
inline Avx2::F LoadF8::load<Avx2>(const unsigned char* p, int lane) {
  const __m256i codes = eight(p + lane);
  const __m256i magnitude =
      _mm256_slli_epi32(_mm256_and_si256(codes, _mm256_set1_epi32(0x7f)), 20);
  const __m256i sign = _mm256_slli_epi32(_mm256_srli_epi32(codes, 7), 31);
  const __m256 value = _mm256_mul_ps(_mm256_castsi256_ps(magnitude), _mm256_set1_ps(0x1p120f));
  return _mm256_or_ps(value, _mm256_castsi256_ps(sign));
}

template <>
inline Avx2::F LoadF4::load<Avx2>(const unsigned char* p, int lane) {
  const __m256 magnitudes = _mm256_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6);
  const __m256i codes = _mm256_srl_epi32(eight(p + lane % 16), _mm_cvtsi32_si128(lane / 16 * 4));
  const __m256i sign = _mm256_slli_epi32(_mm256_and_si256(codes, _mm256_set1_epi32(8)), 28);
  return _mm256_or_ps(_mm256_permutevar8x32_ps(magnitudes, codes), _mm256_castsi256_ps(sign));
}

template <>
inline Avx2::F LoadF4::power<Avx2>(const unsigned char* exponents, const unsigned char* minus) {
  __m256i bits = eight(exponents);
  if (minus) bits = _mm256_sub_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(127)), eight(minus));
  return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23));
}

}  // namespace

namespace braid::cpu {

extern const MicroTier kAvx2Gemm = widen_tier<Avx2, 6>();

}  // namespace braid::cpu
