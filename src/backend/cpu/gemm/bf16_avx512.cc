// SPDX-License-Identifier: Apache-2.0
// Matrix kernels with AVX-512 BF16 and VBMI.
//
// Idea: VDPBF16PS multiplies pairs of inputs, so panels keep pairs together ([k/2][32][2]) and a
// row's pair is one 32-bit broadcast. A tile is M rows by P panels: 8 x 1 when arithmetic is the
// bound, 1 x 4 and 2 x 2 when the latency of few accumulators or the memory is. While a block of
// 128 inputs is multiplied, the next one of the same panel (or the next panel's first) is
// prefetched into the second-level cache: panels lie a power of two apart, so that in the first
// level they would evict each other.
// Each output has one accumulator and takes its pairs in rising order: bit-identical in all tiles.
// Bound: 2 VDPBF16PS a row and pair at M = 8 (18 of 32 registers); memory below M = 8.
#include <immintrin.h>

#include "backend/cpu/gemm/gated.h"
#include "backend/cpu/gemm/micro.h"
#include "backend/cpu/gemm/pairs_avx512.h"
#include "backend/cpu/gemm/store_avx512.h"
#include "backend/cpu/gemm/widen_body.h"
#include "backend/cpu/simd/avx512.h"

namespace {

using braid::cpu::Panels;

// Panels of at least this size come from memory, and few rows wait for it: one panel at a time is
// one rising stream, which the processor fetches ahead by itself faster than when told. Not so e2m1,
// whose codes take longer to expand than to fetch: several panels at once hide that.
constexpr std::int64_t kStreamBytes = 32 << 10;
template <class Source>
constexpr std::int64_t kStreamRows = Source::kPairs == 2 ? 0 : Source::kBytes == 128 ? 4 : 2;

// Sums are multiplied by it after block b; j counts the sixteens of outputs from `panel` on.
template <class Source>
inline __m512 block_factor(const Panels& w, std::int64_t panel, std::int64_t b, int j) {
  const std::int64_t at = (panel + j / 2) * w.blocks + b;
  if constexpr (Source::kExponents) {
    const auto* now = reinterpret_cast<const __m128i*>(w.exponents + at * 32 + j % 2 * 16);
    __m512i bits = _mm512_cvtepu8_epi32(_mm_loadu_si128(now));
    if (b + 1 < w.blocks) {
      const __m512i minus = _mm512_cvtepu8_epi32(_mm_loadu_si128(now + 2));
      bits = _mm512_sub_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(127)), minus);
    }
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 23));
  } else {
    return w.uniform ? _mm512_set1_ps(w.factors[at * 2 + j % 2]) : _mm512_loadu_ps(w.factors + at * 32 + j % 2 * 16);
  }
}

template <class Source>
inline void prefetch_factors(const Panels& w, std::int64_t panel, std::int64_t panels) {
  const std::int64_t each = w.blocks * (Source::kExponents ? 32 : w.uniform ? 8 : 128);
  const char* from = Source::kExponents ? reinterpret_cast<const char*>(w.exponents) : reinterpret_cast<const char*>(w.factors);
  const char* next = from + (panel + panels) * each;
  for (std::int64_t i = 0; i < panels * each; i += 64) _mm_prefetch(next + i, _MM_HINT_T0);
}

template <class Source>
inline __attribute__((always_inline)) void load(const Source& source, const unsigned char* from, bool irregular, __m512i* w) {
  if constexpr (Source::kIrregular) {
    if (__builtin_expect(irregular, 0)) return source.load_any(from, w);
  }
  source.load(from, w);
}

template <class Source, int M, int P, bool kGated, bool kPrefetch = true>
__attribute__((noinline)) void tile(const MicroArgs& a, std::int64_t row, std::int64_t panel) {
  const Source source;
  const unsigned char* x[M];
  for (int m = 0; m < M; ++m) {
    x[m] = a.x + (a.index ? a.index[row + m] : row + m) * a.x_stride;
  }
  const unsigned char* w = a.w.data + panel * a.w.panel_bytes;
  const std::int64_t size = a.w.panel_bytes;
  const std::uint64_t* words = a.w.irregular + panel * a.w.irregular_words;
  const bool factors = Source::kExponents || a.w.factors;
  if (factors) prefetch_factors<Source>(a.w, panel, P);
  __m512 c[M][2 * P];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int j = 0; j < 2 * P; ++j) c[m][j] = _mm512_setzero_ps();
  }
  constexpr int kPairs = Source::kPairs;
  const std::int64_t steps = (a.w.k + 2 * kPairs - 1) / (2 * kPairs);
  std::int64_t step = 0;
  for (std::int64_t b = 0; b < a.w.blocks; ++b) {
    const bool last = b + 1 == a.w.blocks;
    const std::int64_t end = last ? steps : (a.w.first_block + b * a.w.block) / (2 * kPairs);
    const std::int64_t ahead = last ? (P * size - step * Source::kBytes) : (end - step) * Source::kBytes;
    for (; step < end; ++step) {
      const unsigned char* wp = w + step * Source::kBytes;
      __m512i wv[P][2 * kPairs];
#pragma GCC unroll 8
      for (int p = 0; p < P; ++p) {
        bool irregular = false;
        if constexpr (Source::kIrregular) irregular = words[p * a.w.irregular_words + step / 64] >> step % 64 & 1;
        load<Source>(source, wp + p * size, irregular, wv[p]);
        if (!kPrefetch) continue;
        _mm_prefetch(reinterpret_cast<const char*>(wp + p * size + ahead), _MM_HINT_T1);
        if (Source::kBytes == 128) {
          _mm_prefetch(reinterpret_cast<const char*>(wp + p * size + ahead + 64), _MM_HINT_T1);
        }
      }
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
        for (int i = 0; i < kPairs; ++i) {
          int bits;
          __builtin_memcpy(&bits, x[m] + (step * kPairs + i) * 4, 4);
          const auto xv = reinterpret_cast<__m512bh>(_mm512_set1_epi32(bits));
#pragma GCC unroll 8
          for (int j = 0; j < 2 * P; ++j) {
            c[m][j] = _mm512_dpbf16_ps(c[m][j], xv, reinterpret_cast<__m512bh>(wv[j / 2][2 * i + j % 2]));
          }
        }
      }
    }
    if (!factors) continue;
#pragma GCC unroll 8
    for (int j = 0; j < 2 * P; ++j) {
      const __m512 f = block_factor<Source>(a.w, panel, b, j);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) c[m][j] = _mm512_mul_ps(c[m][j], f);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      if constexpr (kGated) {
        const std::int64_t column = (panel + p) * 16;
        store16(a, row + m, column, gated<Avx512>(a, column, c[m][2 * p], c[m][2 * p + 1]));
      } else {
        store16(a, row + m, (panel + p) * 32, c[m][2 * p]);
        store16(a, row + m, (panel + p) * 32 + 16, c[m][2 * p + 1]);
      }
    }
  }
}

template <class Source, int M, bool kGated, bool kPrefetch = true>
void rows_by_one(const MicroArgs& a, std::int64_t row, std::int64_t count, std::int64_t panel) {
  if (count == M) {
    tile<Source, M, 1, kGated, kPrefetch>(a, row, panel);
  } else if constexpr (M > 1) {
    rows_by_one<Source, M - 1, kGated, kPrefetch>(a, row, count, panel);
  }
}

// All rows (at most 4) by P panels at once while P are left.
template <class Source, int M, int P, bool kGated>
std::int64_t few_rows(const MicroArgs& a, std::int64_t panel) {
  for (; panel + P <= a.panel1; panel += P) tile<Source, M, P, kGated>(a, 0, panel);
  return panel;
}

template <class Source, bool kGated>
void gemm(const MicroArgs& a) {
  std::int64_t panel = a.panel0;
  if (a.rows <= kStreamRows<Source> && a.w.panel_bytes >= kStreamBytes) {
    for (; panel < a.panel1; ++panel) rows_by_one<Source, 4, kGated, false>(a, 0, a.rows, panel);
  }
  if (a.rows == 1) panel = few_rows<Source, 1, 4, kGated>(a, panel);
  if (a.rows == 2) panel = few_rows<Source, 2, 2, kGated>(a, panel);
  if (a.rows == 3) panel = few_rows<Source, 3, 2, kGated>(a, panel);
  if (a.rows == 4) panel = few_rows<Source, 4, 2, kGated>(a, panel);
  const std::int64_t tiles = (a.rows + 7) / 8;
  for (; panel < a.panel1; ++panel) {
    for (std::int64_t t = 0; t < tiles; ++t) {
      const std::int64_t row = a.rows * t / tiles;
      const std::int64_t next = a.rows * (t + 1) / tiles;
      rows_by_one<Source, 8, kGated>(a, row, next - row, panel);
    }
  }
}

void load_bf16_row(const void* row, bool bf16, std::int64_t k, void* out) {
  auto* to = static_cast<std::uint16_t*>(out);
  for (std::int64_t i = 0; i < k; i += 16) {
    const int n = part<Avx512>(k, i);
    const __m512 v = load_row<Avx512>(row, bf16, i, n);
    _mm256_mask_storeu_epi16(to + i, Avx512::lanes(n),
                             reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
  }
  for (std::int64_t i = k; i % 4; ++i) to[i] = 0;
}

}  // namespace

namespace braid::cpu {

extern const MicroTier kAvx512Bf16Gemm = {
    {{},
     {true, false, Layout::kPairs, 16, gemm<Bf16Pairs, false>, gemm<Bf16Pairs, true>, load_bf16_row},
     {true, false, Layout::kPairs, 16, gemm<F8Pairs, false>, gemm<F8Pairs, true>, load_bf16_row},
     {false, true, Layout::kQuads, 16, int8_gemm, int8_gate_up, int8_load_row},
     {true, false, Layout::kPairs, 16, gemm<F4Pairs, false>, gemm<F4Pairs, true>, load_bf16_row}}};

}  // namespace braid::cpu
