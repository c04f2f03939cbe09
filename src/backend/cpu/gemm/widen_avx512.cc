// SPDX-License-Identifier: Apache-2.0
// Matrix kernels with AVX-512 without BF16: 8 x 32 tiles (16 accumulators, 2 weights). e4m3 as in
// widen_scalar.cc, sixteen codes at once.
#include "backend/cpu/gemm/widen_body.h"
#include "backend/cpu/simd/avx512.h"

namespace {

inline __m512i sixteen(const unsigned char* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

template <>
inline Avx512::F LoadF8::load<Avx512>(const unsigned char* p, int lane) {
  const __m512i codes = sixteen(p + lane);
  const __m512i magnitude =
      _mm512_slli_epi32(_mm512_and_si512(codes, _mm512_set1_epi32(0x7f)), 20);
  const __m512i sign = _mm512_slli_epi32(_mm512_srli_epi32(codes, 7), 31);
  const __m512 value = _mm512_mul_ps(_mm512_castsi512_ps(magnitude), _mm512_set1_ps(0x1p120f));
  return _mm512_or_ps(value, _mm512_castsi512_ps(sign));
}

template <>
inline Avx512::F LoadF4::load<Avx512>(const unsigned char* p, int lane) {
  const __m512 values = _mm512_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6);
  const __m512i codes = lane < 16 ? sixteen(p) : _mm512_srli_epi32(sixteen(p), 4);
  return _mm512_permutexvar_ps(codes, values);
}

template <>
inline Avx512::F LoadF4::power<Avx512>(const unsigned char* exponents, const unsigned char* minus) {
  __m512i bits = sixteen(exponents);
  if (minus) bits = _mm512_sub_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(127)), sixteen(minus));
  return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 23));
}

}  // namespace

namespace braid::cpu {

extern const MicroTier kAvx512Gemm = widen_tier<Avx512, 8>();

}  // namespace braid::cpu
