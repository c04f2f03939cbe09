// SPDX-License-Identifier: Apache-2.0
// How the AVX-512 kernels read inputs of 32 outputs from a panel of pairs, as bfloat16: `kPairs` of
// them at once, `kBytes` long. e4m3 codes in the order of micro.h become bfloat16 times 256, exactly: the
// sign and the exponent's high bits stand where the high byte of the result has them, the rest is
// moved up by one. Codes of smaller exponents than that can tell, and those of no number, go through two
// 128-byte tables (VPERMI2B; its index ignores the sign bit, which is put back), one for each byte of the
// result; e2m1 codes through two of 16 bytes (VPSHUFB).
#pragma once

#if defined(__AVX512VBMI__)

#include <immintrin.h>

namespace {

struct Tables {
  alignas(64) unsigned char low[128];
  alignas(64) unsigned char high[128];
};

// Of an e4m3 code without its sign, times 256.
constexpr unsigned bf16_of_code(int code) {
  const int exponent = code >> 3;
  int fraction = code & 7;
  if (code == 0x7f) return 0x7fc0;
  if (exponent > 0) return static_cast<unsigned>((exponent + 128) << 7 | fraction << 4);
  if (fraction == 0) return 0;
  int e = 129;
  while (fraction < 8) {
    fraction <<= 1;
    --e;
  }
  return static_cast<unsigned>(e << 7 | (fraction & 7) << 4);
}

constexpr Tables make_tables() {
  Tables t{};
  for (int code = 0; code < 128; ++code) {
    const int size = code >= 8 ? code : code < 4 ? 2 * code + 1 : 2 * code - 8;
    const int at = (size & 15) << 3 | size >> 4;
    t.low[at] = static_cast<unsigned char>(bf16_of_code(code) & 0xff);
    t.high[at] = static_cast<unsigned char>(bf16_of_code(code) >> 8);
  }
  return t;
}

constexpr Tables kTables = make_tables();

struct Bf16Pairs {
  static constexpr int kPairs = 1;
  static constexpr int kBytes = 128;
  static constexpr bool kExponents = false;
  static constexpr bool kIrregular = false;
  // w[2 * pair]: outputs 0 to 15; w[2 * pair + 1]: the others.
  void load(const unsigned char* p, __m512i* w) const {
    w[0] = _mm512_loadu_si512(p);
    w[1] = _mm512_loadu_si512(p + 64);
  }
};

struct F8Pairs {
  static constexpr int kPairs = 1;
  static constexpr int kBytes = 64;
  static constexpr bool kExponents = false;
  static constexpr bool kIrregular = true;
  __m512i low0 = _mm512_load_si512(kTables.low);
  __m512i low1 = _mm512_load_si512(kTables.low + 64);
  __m512i high0 = _mm512_load_si512(kTables.high);
  __m512i high1 = _mm512_load_si512(kTables.high + 64);
  __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  __m512i in_high = _mm512_set1_epi8(static_cast<char>(0x87));
  __m512i in_low = _mm512_set1_epi8(static_cast<char>(0xf0));
  __m512i exponent = _mm512_set1_epi8(0x40);
  // No code among them is irregular.
  void load(const unsigned char* p, __m512i* w) const {
    const __m512i codes = _mm512_loadu_si512(p);
    const __m512i high = _mm512_ternarylogic_epi32(codes, in_high, exponent, 0xea);
    unpack(_mm512_and_si512(_mm512_add_epi16(codes, codes), in_low), high, w);
  }
  void load_any(const unsigned char* p, __m512i* w) const {
    const __m512i codes = _mm512_loadu_si512(p);
    const __m512i high = _mm512_permutex2var_epi8(high0, codes, high1);
    unpack(_mm512_permutex2var_epi8(low0, codes, low1), _mm512_ternarylogic_epi32(high, codes, sign, 0xf8), w);
  }
  static void unpack(__m512i low, __m512i high, __m512i* w) {
    w[0] = _mm512_unpacklo_epi8(low, high);
    w[1] = _mm512_unpackhi_epi8(low, high);
  }
};

struct F4Pairs {
  static constexpr int kPairs = 2;
  static constexpr int kBytes = 64;
  static constexpr bool kExponents = true;
  static constexpr bool kIrregular = false;
  // Bytes of 0, 0.5, 1, 1.5, 2, 3, 4, 6 and of the same with their sign.
  __m512i low = _mm512_broadcast_i32x4(
      _mm_setr_epi8(0, 0, -128, -64, 0, 64, -128, -64, 0, 0, -128, -64, 0, 64, -128, -64));
  __m512i high = _mm512_broadcast_i32x4(
      _mm_setr_epi8(0, 63, 63, 63, 64, 64, 64, 64, -128, -65, -65, -65, -64, -64, -64, -64));
  __m512i half = _mm512_set1_epi8(15);
  void load(const unsigned char* p, __m512i* w) const {
    const __m512i both = _mm512_loadu_si512(p);
    expand(_mm512_and_si512(both, half), w);
    expand(_mm512_and_si512(_mm512_srli_epi16(both, 4), half), w + 2);
  }
  void expand(__m512i codes, __m512i* w) const {
    const __m512i l = _mm512_shuffle_epi8(low, codes), h = _mm512_shuffle_epi8(high, codes);
    w[0] = _mm512_unpacklo_epi8(l, h);
    w[1] = _mm512_unpackhi_epi8(l, h);
  }
};

}  // namespace

#endif
