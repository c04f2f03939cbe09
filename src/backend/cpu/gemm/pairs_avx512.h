// SPDX-License-Identifier: Apache-2.0
// How the AVX-512 kernels read two inputs of 32 outputs from a panel of pairs, as bfloat16.
// e4m3 codes become bfloat16 exactly through two 128-byte tables (VPERMI2B; its index ignores the
// sign bit, which is put back), one for each byte of the result.
#pragma once

#if defined(__AVX512VBMI__)

#include <immintrin.h>

namespace {

struct Tables {
  alignas(64) unsigned char low[128];
  alignas(64) unsigned char high[128];
};

constexpr unsigned bf16_of_code(int code) {
  const int exponent = code >> 3;
  int fraction = code & 7;
  if (code == 0x7f) return 0x7fc0;
  if (exponent > 0) return static_cast<unsigned>((exponent + 120) << 7 | fraction << 4);
  if (fraction == 0) return 0;
  int e = 121;
  while (fraction < 8) {
    fraction <<= 1;
    --e;
  }
  return static_cast<unsigned>(e << 7 | (fraction & 7) << 4);
}

constexpr Tables make_tables() {
  Tables t{};
  for (int code = 0; code < 128; ++code) {
    t.low[code] = static_cast<unsigned char>(bf16_of_code(code) & 0xff);
    t.high[code] = static_cast<unsigned char>(bf16_of_code(code) >> 8);
  }
  return t;
}

constexpr Tables kTables = make_tables();

struct Bf16Pairs {
  static constexpr int kPairBytes = 128;
  void load(const unsigned char* p, __m512i& w0, __m512i& w1) const {
    w0 = _mm512_loadu_si512(p);
    w1 = _mm512_loadu_si512(p + 64);
  }
};

struct F8Pairs {
  static constexpr int kPairBytes = 64;
  __m512i low0 = _mm512_load_si512(kTables.low);
  __m512i low1 = _mm512_load_si512(kTables.low + 64);
  __m512i high0 = _mm512_load_si512(kTables.high);
  __m512i high1 = _mm512_load_si512(kTables.high + 64);
  __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  void load(const unsigned char* p, __m512i& w0, __m512i& w1) const {
    const __m512i codes = _mm512_loadu_si512(p);
    const __m512i low = _mm512_permutex2var_epi8(low0, codes, low1);
    __m512i high = _mm512_permutex2var_epi8(high0, codes, high1);
    high = _mm512_ternarylogic_epi32(high, codes, sign, 0xf8);
    w0 = _mm512_unpacklo_epi8(low, high);
    w1 = _mm512_unpackhi_epi8(low, high);
  }
};

}  // namespace

#endif
