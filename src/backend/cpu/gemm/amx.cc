// SPDX-License-Identifier: Apache-2.0
// Matrix kernels with AMX.
#include <immintrin.h>

#include "backend/cpu/gemm/micro.h"
#include "backend/cpu/gemm/pairs_avx512.h"
#include "backend/cpu/gemm/tile_body.h"
#include "backend/cpu/simd/amx.h"
#include "backend/cpu/simd/avx512.h"

namespace {

inline void F8Groups::expand(const unsigned char* from, std::int64_t groups, unsigned char* to) {
  const F8Pairs pairs;
  for (std::int64_t g = 0; g < groups; ++g) {
    __m512i low, high;
    pairs.load(from + g * kBytes, low, high);
    _mm512_storeu_si512(to + g * 128, low);
    _mm512_storeu_si512(to + g * 128 + 64, high);
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
