// SPDX-License-Identifier: Apache-2.0
// Eight floats with AVX2 and FMA; functions as in portable.h, whose first lines apply.
#pragma once

#if defined(__AVX2__)

#include <immintrin.h>

#include <cstdint>

namespace {

struct Avx2 {
  using F = __m256;
  static constexpr int kWidth = 8;

  static F set1(float x) { return _mm256_set1_ps(x); }
  static F zero() { return _mm256_setzero_ps(); }
  static __m256i lanes(int n) {
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), index);
  }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static F load(const float* p, int n) { return _mm256_maskload_ps(p, lanes(n)); }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static void store(float* p, F v, int n) { _mm256_maskstore_ps(p, lanes(n), v); }
  static F load_bf16(const std::uint16_t* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  static F load_bf16(const std::uint16_t* p, int n) {
    std::uint16_t part[kWidth] = {};
    for (int i = 0; i < n && i < kWidth; ++i) part[i] = p[i];
    return load_bf16(part);
  }
  static __m128i to_bf16(F v) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_add_epi32(bits, bias);
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
  }
  static void store_bf16(std::uint16_t* p, F v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_bf16(v));
  }
  static void store_bf16(std::uint16_t* p, F v, int n) {
    std::uint16_t part[kWidth];
    store_bf16(part, v);
    for (int i = 0; i < n && i < kWidth; ++i) p[i] = part[i];
  }
  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F fmaddsub(F a, F b, F c) { return _mm256_fmaddsub_ps(a, b, c); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F round(F x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static F scale2(F y, F n) {
    const __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(y, _mm256_castsi256_ps(_mm256_slli_epi32(e, 23)));
  }
  static float sum(F v) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
  }
  static float max(F v) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps(x, x, 1)));
  }
  static F swap_pairs(F v) { return _mm256_permute_ps(v, 0xb1); }
  static F load_twice(const float* p) {
    const __m256i index = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), index);
  }
  static F first(F v, int n, F other) {
    return _mm256_blendv_ps(other, v, _mm256_castsi256_ps(lanes(n)));
  }
  static int find(F v, F x) {
    const int equal = _mm256_movemask_ps(_mm256_cmp_ps(v, x, _CMP_EQ_OQ));
    return equal ? __builtin_ctz(static_cast<unsigned>(equal)) : -1;
  }
};

}  // namespace

#endif
