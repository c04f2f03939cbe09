// SPDX-License-Identifier: Apache-2.0
// Sixteen floats with AVX-512 F, BW, DQ and VL; functions as in portable.h, whose first lines
// apply.
#pragma once

#if defined(__AVX512BW__)

#include <immintrin.h>

#include <cstdint>

namespace {

struct Avx512 {
  using F = __m512;
  static constexpr int kWidth = 16;

  static F set1(float x) { return _mm512_set1_ps(x); }
  static F zero() { return _mm512_setzero_ps(); }
  static __mmask16 lanes(int n) {
    return n >= kWidth ? __mmask16{0xffff} : static_cast<__mmask16>((1u << (n < 0 ? 0 : n)) - 1);
  }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static F load(const float* p, int n) { return _mm512_maskz_loadu_ps(lanes(n), p); }
  static void store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static void store(float* p, F v, int n) { _mm512_mask_storeu_ps(p, lanes(n), v); }
  static F widen(__m256i bits) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static F load_bf16(const std::uint16_t* p) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static F load_bf16(const std::uint16_t* p, int n) {
    return widen(_mm256_maskz_loadu_epi16(lanes(n), p));
  }
  static __m256i to_bf16(F v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i rounded =
        _mm512_mask_or_epi32(_mm512_add_epi32(bits, bias), nan, bits, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
  }
  static void store_bf16(std::uint16_t* p, F v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bf16(v));
  }
  static void store_bf16(std::uint16_t* p, F v, int n) {
    _mm256_mask_storeu_epi16(p, lanes(n), to_bf16(v));
  }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F fmaddsub(F a, F b, F c) { return _mm512_fmaddsub_ps(a, b, c); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F round(F x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT); }
  static F scale2(F y, F n) { return _mm512_scalef_ps(y, n); }
  static float sum(F v) {
    __m512 x = _mm512_add_ps(v, _mm512_shuffle_f32x4(v, v, 0x4e));
    x = _mm512_add_ps(x, _mm512_shuffle_f32x4(x, x, 0xb1));
    x = _mm512_add_ps(x, _mm512_permute_ps(x, 0x4e));
    return _mm512_cvtss_f32(_mm512_add_ps(x, _mm512_permute_ps(x, 0xb1)));
  }
  static float max(F v) {
    __m512 x = _mm512_max_ps(v, _mm512_shuffle_f32x4(v, v, 0x4e));
    x = _mm512_max_ps(x, _mm512_shuffle_f32x4(x, x, 0xb1));
    x = _mm512_max_ps(x, _mm512_permute_ps(x, 0x4e));
    return _mm512_cvtss_f32(_mm512_max_ps(x, _mm512_permute_ps(x, 0xb1)));
  }
  static F swap_pairs(F v) { return _mm512_permute_ps(v, 0xb1); }
  static F load_twice(const float* p) {
    const __m512i index = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    return _mm512_permutexvar_ps(index, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
  }
  static F first(F v, int n, F other) { return _mm512_mask_mov_ps(other, lanes(n), v); }
  static int find(F v, F x) {
    const unsigned equal = _mm512_cmp_ps_mask(v, x, _CMP_EQ_OQ);
    return equal ? __builtin_ctz(equal) : -1;
  }
};

}  // namespace

#endif
