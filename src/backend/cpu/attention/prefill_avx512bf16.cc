// SPDX-License-Identifier: Apache-2.0
// Prefill attention with bfloat16 dot products: a tile is 8 rows x 32 columns, 16 accumulators;
// a step of depth 2 is two loads, eight broadcasts and sixteen vdpbf16ps, which limit it.
#include "backend/cpu/attention/prefill_body.h"
#include "backend/cpu/simd/avx512.h"

namespace {

struct Bf16 : Avx512 {
  static __m256i to_bf16(F v) {
    __m256i bits;
    const __m256bh rounded = _mm512_cvtneps_pbh(v);
    __builtin_memcpy(&bits, &rounded, sizeof(bits));
    return bits;
  }
  static void store_bf16(std::uint16_t* p, F v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bf16(v));
  }
  static void store_bf16(std::uint16_t* p, F v, int n) {
    _mm256_mask_storeu_epi16(p, lanes(n), to_bf16(v));
  }
};

struct Bf16Units {
  using F = __m512;
  using B = __m512i;
  using Unit = std::uint32_t;
  using Vector = Bf16;
  static B load(const std::uint32_t* p) { return _mm512_loadu_si512(p); }
  static B broadcast(const std::uint32_t* p) { return _mm512_set1_epi32(static_cast<int>(*p)); }
  static F madd(F sum, B a, B b) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
};

__mmask32 elements(int n) {
  return n >= 32 ? 0xffffffffu : n <= 0 ? 0u : (1u << n) - 1;
}

void pack_row_bf16(const void* x, bool, int n, void* out, int units) {
  const auto* from = static_cast<const std::uint16_t*>(x);
  auto* to = static_cast<std::uint16_t*>(out);
  for (int i = 0; i < 2 * units; i += 32) {
    _mm512_mask_storeu_epi16(
        to + i, elements(2 * units - i), _mm512_maskz_loadu_epi16(elements(n - i), from + i));
  }
}

// Sixteen rows of sixteen pairs; row r of the result goes to out + r * kPanel.
inline void transpose(const __m512i (&x)[16], int rows, std::uint32_t* out) {
  __m512i a[16];
  __m512i b[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    a[2 * i] = _mm512_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
    a[2 * i + 1] = _mm512_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // b[4i + c]: column c of each 128-bit lane, rows 4i..4i+3
    b[4 * i] = _mm512_unpacklo_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 1] = _mm512_unpackhi_epi64(a[4 * i], a[4 * i + 2]);
    b[4 * i + 2] = _mm512_unpacklo_epi64(a[4 * i + 1], a[4 * i + 3]);
    b[4 * i + 3] = _mm512_unpackhi_epi64(a[4 * i + 1], a[4 * i + 3]);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m512i low = _mm512_shuffle_i32x4(b[c], b[4 + c], 0x88);   // lanes 0 and 2
    const __m512i high = _mm512_shuffle_i32x4(b[c], b[4 + c], 0xdd);  // lanes 1 and 3
    const __m512i low2 = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0x88);
    const __m512i high2 = _mm512_shuffle_i32x4(b[8 + c], b[12 + c], 0xdd);
    const __m512i column[4] = {_mm512_shuffle_i32x4(low, low2, 0x88),
                               _mm512_shuffle_i32x4(high, high2, 0x88),
                               _mm512_shuffle_i32x4(low, low2, 0xdd),
                               _mm512_shuffle_i32x4(high, high2, 0xdd)};
#pragma GCC unroll 4
    for (int lane = 0; lane < 4; ++lane) {
      if (4 * lane + c < rows) _mm512_storeu_si512(out + (4 * lane + c) * kPanel, column[lane]);
    }
  }
}

void pack_keys_bf16(const void* const* rows, int count, bool, int dim, int units, void* out) {
  auto* panels = static_cast<std::uint32_t*>(out);
  for (int key = 0; key < kBlockKeys; key += 16) {
    std::uint32_t* to = panels + key / kPanel * units * kPanel + key % kPanel;
    for (int i = 0; i < units; i += 16) {
      __m512i x[16];
#pragma GCC unroll 16
      for (int r = 0; r < 16; ++r) {
        const bool there = key + r < count;
        const auto* row = static_cast<const std::uint16_t*>(rows[there ? key + r : 0]);
        x[r] = _mm512_maskz_loadu_epi16(there ? elements(dim - 2 * i) : 0, row + 2 * i);
      }
      transpose(x, units - i, to + i * kPanel);
    }
  }
}

void pack_values_bf16(const void* const* rows, int count, bool, int dim, void* out) {
  const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
  const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  auto* panel = static_cast<std::uint32_t*>(out);
  for (int column = 0; column < dim; column += kPanel) {
    for (int key = 0; key < kBlockKeys; key += 2, panel += kPanel) {
      __m512i x[2];
      for (int r = 0; r < 2; ++r) {
        const bool there = key + r < count;
        const auto* row = static_cast<const std::uint16_t*>(rows[there ? key + r : 0]);
        x[r] = _mm512_maskz_loadu_epi16(there ? elements(dim - column) : 0, row + column);
      }
      const __m512i low = _mm512_unpacklo_epi16(x[0], x[1]);
      const __m512i high = _mm512_unpackhi_epi16(x[0], x[1]);
      _mm512_storeu_si512(panel, _mm512_permutex2var_epi64(low, first, high));
      _mm512_storeu_si512(panel + 16, _mm512_permutex2var_epi64(low, second, high));
    }
  }
}

}  // namespace

namespace braid::cpu {

extern const PrefillTier kAvx512Bf16Prefill{2,
                                            pack_row_bf16,
                                            pack_keys_bf16,
                                            pack_values_bf16,
                                            multiply<Bf16Units, 8>,
                                            softmax<Bf16, true>,
                                            finish<Bf16>,
                                            decode_fp8};

}  // namespace braid::cpu
