// SPDX-License-Identifier: Apache-2.0
// int8 matrix kernels with AVX-512 VNNI; opt-in, since rounding inputs and weights changes results.
//
// Idea: VPDPBUSD multiplies unsigned by signed bytes, so weights are stored plus 128 ([k/4][32][4])
// and a block of 128 inputs starts from minus 128 times the sum of the row's codes. A block's
// exact int32 sums become float32 times the scale of the row and that of the output, added up in
// the first-level cache: the registers belong to the int32 tile.
// Tile: up to 4 rows x 64 outputs (16 sums, 4 weights, 1 broadcast; GCC 12 spills with six rows),
// 1 x 128 for one row, 1 x 32 for one row of weights that lie in memory.
// Blocks are added in rising order: bit-identical for every tile.
// Bound: VPDPBUSD from 4 rows on, memory below.
#include <immintrin.h>

#include "backend/cpu/gemm/gated.h"
#include "backend/cpu/gemm/micro.h"
#include "backend/cpu/gemm/store_avx512.h"
#include "backend/cpu/simd/avx512.h"

namespace {

constexpr std::int64_t kBlock = 128;
constexpr std::int64_t kStreamBytes = 32 << 10;  // as in bf16_avx512.cc

struct BlockScale {
  float scale;
  std::int32_t offset;
};

template <int M, int P, bool kPrefetch>
__attribute__((noinline)) void multiply(const MicroArgs& a, std::int64_t row, std::int64_t panel,
                                        float* sums) {
  const unsigned char* x[M];
  for (int m = 0; m < M; ++m) {
    x[m] = a.x + (a.index ? a.index[row + m] : row + m) * a.x_stride;
  }
  const std::int64_t scales_at = (a.w.k + 63) / 64 * 64;
  const auto scale_of = [scales_at](const unsigned char* codes, std::int64_t block) {
    BlockScale s;
    __builtin_memcpy(&s, codes + scales_at + block * 8, 8);
    return s;
  };
  const unsigned char* w = a.w.data + panel * a.w.panel_bytes;
  const std::int64_t size = a.w.panel_bytes;
  const std::int64_t quads = (a.w.k + 3) / 4;
  for (std::int64_t b = 0; b < a.w.blocks; ++b) {
    const std::int64_t begin = b * (kBlock / 4);
    const std::int64_t end = b + 1 == a.w.blocks ? quads : begin + kBlock / 4;
    const std::int64_t ahead =
        (b + 1 == a.w.blocks ? P * size - begin * 128 : (end - begin) * 128);
    __m512i c[M][2 * P];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
      for (int j = 0; j < 2 * P; ++j) c[m][j] = _mm512_set1_epi32(-scale_of(x[m], b).offset);
    }
    for (std::int64_t q = begin; q < end; ++q) {
      __m512i wv[2 * P];
#pragma GCC unroll 8
      for (int j = 0; j < 2 * P; ++j) {
        const unsigned char* from = w + j / 2 * size + q * 128 + j % 2 * 64;
        wv[j] = _mm512_loadu_si512(from);
        if (kPrefetch) _mm_prefetch(reinterpret_cast<const char*>(from + ahead), _MM_HINT_T1);
      }
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        int bits;
        __builtin_memcpy(&bits, x[m] + q * 4, 4);
        const __m512i xv = _mm512_set1_epi32(bits);
#pragma GCC unroll 8
        for (int j = 0; j < 2 * P; ++j) c[m][j] = _mm512_dpbusd_epi32(c[m][j], wv[j], xv);
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const __m512 scale = _mm512_set1_ps(scale_of(x[m], b).scale);
#pragma GCC unroll 8
      for (int j = 0; j < 2 * P; ++j) {
        const float* factors = a.w.factors + ((panel + j / 2) * a.w.blocks + b) * 32 + j % 2 * 16;
        const __m512 f = _mm512_mul_ps(scale, _mm512_loadu_ps(factors));
        const __m512 v = _mm512_cvtepi32_ps(c[m][j]);
        float* sum = sums + (m * 2 * P + j) * 16;
        _mm512_store_ps(sum, b == 0 ? _mm512_mul_ps(v, f) : _mm512_fmadd_ps(v, f, _mm512_load_ps(sum)));
      }
    }
  }
}

template <int M, int P, bool kGated, bool kPrefetch = true>
void tile(const MicroArgs& a, std::int64_t row, std::int64_t panel) {
  alignas(64) float sums[M * P * 32];
  multiply<M, P, kPrefetch>(a, row, panel, sums);
  for (int m = 0; m < M; ++m) {
    for (int p = 0; p < P; ++p) {
      const __m512 v0 = _mm512_load_ps(sums + (m * P + p) * 32);
      const __m512 v1 = _mm512_load_ps(sums + (m * P + p) * 32 + 16);
      if constexpr (kGated) {
        const std::int64_t column = (panel + p) * 16;
        store16(a, row + m, column, gated<Avx512>(a, column, v0, v1));
      } else {
        store16(a, row + m, (panel + p) * 32, v0);
        store16(a, row + m, (panel + p) * 32 + 16, v1);
      }
    }
  }
}

template <int M, int P, bool kGated>
void rows_by(const MicroArgs& a, std::int64_t row, std::int64_t count, std::int64_t panel) {
  if (count == M) {
    tile<M, P, kGated>(a, row, panel);
  } else if constexpr (M > 1) {
    rows_by<M - 1, P, kGated>(a, row, count, panel);
  }
}

template <bool kGated>
void gemm(const MicroArgs& a) {
  std::int64_t panel = a.panel0;
  if (a.rows == 1 && a.w.panel_bytes >= kStreamBytes) {
    for (; panel < a.panel1; ++panel) tile<1, 1, kGated, false>(a, 0, panel);
  }
  if (a.rows == 1) {
    for (; panel + 4 <= a.panel1; panel += 4) tile<1, 4, kGated>(a, 0, panel);
  }
  const std::int64_t tiles = (a.rows + 3) / 4;
  while (panel < a.panel1) {
    const bool two = panel + 2 <= a.panel1;
    for (std::int64_t t = 0; t < tiles; ++t) {
      const std::int64_t row = a.rows * t / tiles;
      const std::int64_t count = a.rows * (t + 1) / tiles - row;
      two ? rows_by<4, 2, kGated>(a, row, count, panel) : rows_by<4, 1, kGated>(a, row, count, panel);
    }
    panel += two ? 2 : 1;
  }
}

// One block of up to 128 inputs: codes of the nearest multiples of its largest magnitude / 127.
template <bool kBf16>
BlockScale quantise_block(const void* row, std::int64_t begin, std::int64_t count, signed char* codes) {
  const auto left = [count](int i) { return static_cast<int>(count) - 16 * i; };
  __m512 v[8];
  __m512 largest = _mm512_setzero_ps();
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const std::int64_t at = begin + 16 * i;
    v[i] = kBf16 ? Avx512::load_bf16(static_cast<const std::uint16_t*>(row) + at, left(i))
                 : Avx512::load(static_cast<const float*>(row) + at, left(i));
    largest = _mm512_max_ps(largest, _mm512_abs_ps(v[i]));
  }
  const float peak = Avx512::max(largest);
  const __m512 inverse = _mm512_set1_ps(peak > 0 ? 127.0f / peak : 0.0f);
  __m512i sum = _mm512_setzero_si512();
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(v[i], inverse));
    sum = _mm512_add_epi32(sum, q);
    _mm_mask_storeu_epi8(codes + 16 * i, Avx512::lanes(left(i)), _mm512_cvtsepi32_epi8(q));
  }
  return {peak / 127, 128 * _mm512_reduce_add_epi32(sum)};
}

template <bool kBf16>
void quantise_row(const void* row, std::int64_t k, void* out) {
  auto* codes = static_cast<signed char*>(out);
  auto* scales = codes + (k + 63) / 64 * 64;
  for (std::int64_t begin = 0; begin < k; begin += kBlock, scales += 8) {
    const bool full = begin + kBlock <= k;
    const BlockScale s = full ? quantise_block<kBf16>(row, begin, kBlock, codes + begin)
                              : quantise_block<kBf16>(row, begin, k - begin, codes + begin);
    __builtin_memcpy(scales, &s, sizeof(s));
  }
  for (std::int64_t i = k; i % 4; ++i) codes[i] = 0;
}

}  // namespace

namespace braid::cpu {

void int8_gemm(const MicroArgs& args) { gemm<false>(args); }
void int8_gate_up(const MicroArgs& args) { gemm<true>(args); }

void int8_load_row(const void* row, bool bf16, std::int64_t k, void* out) {
  bf16 ? quantise_row<true>(row, k, out) : quantise_row<false>(row, k, out);
}

}  // namespace braid::cpu
