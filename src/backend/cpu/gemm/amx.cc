// SPDX-License-Identifier: Apache-2.0
// Matrix kernels with AMX.
#include <immintrin.h>

#include "backend/cpu/gemm/micro.h"
#include "backend/cpu/gemm/pairs_avx512.h"
#include "backend/cpu/gemm/tile_body.h"
#include "backend/cpu/simd/amx.h"
#include "backend/cpu/simd/avx512.h"

namespace {

inline void F8Groups::expand(const unsigned char* from, const unsigned char*, std::int64_t groups, unsigned char* to) {
  const F8Pairs pairs;
  for (std::int64_t g = 0; g < groups; ++g) {
    __m512i w[2];
    pairs.load_any(from + g * kBytes, w);
    _mm512_storeu_si512(to + g * 128, w[0]);
    _mm512_storeu_si512(to + g * 128 + 64, w[1]);
  }
}

// What is to be added to sixteen pairs of bfloat16 so that they are multiplied by their powers of two.
inline __m512i steps(const unsigned char* exponents) {
  const __m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(exponents)));
  const __m512i one = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(127)), 7);
  return _mm512_or_si512(_mm512_slli_epi32(one, 16), _mm512_and_si512(one, _mm512_set1_epi32(0xffff)));
}

inline __m512i scaled(__m512i w, __m512i by) {
  return _mm512_mask_add_epi16(w, _mm512_test_epi16_mask(w, _mm512_set1_epi16(0x7fff)), w, by);
}

inline void F4Groups::expand(const unsigned char* from, const unsigned char* exponents, std::int64_t groups, unsigned char* to) {
  const F4Pairs pairs;
  for (std::int64_t g = 0; g < groups; g += kBlockGroups, exponents += 32) {
    const __m512i by[2] = {steps(exponents), steps(exponents + 16)};
    for (std::int64_t i = g; i < g + kBlockGroups; i += 2) {
      __m512i w[4];
      pairs.load(from + i * kBytes, w);
      for (int j = 0; j < 4; ++j) _mm512_storeu_si512(to + i * 128 + j * 64, scaled(w[j], by[j % 2]));
    }
  }
}

template <>
inline Avx512::F floats_of<Avx512>(const std::int32_t* sums, std::int32_t offset) {
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(sums), _mm512_set1_epi32(offset)));
}

}  // namespace

namespace braid::cpu {

extern const MicroTier kAmxGemm = tile_tier<AmxTiles, Avx512>(int8_load_row);

}  // namespace braid::cpu
