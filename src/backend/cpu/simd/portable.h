// SPDX-License-Identifier: Apache-2.0
// Four floats in the compiler's vector type: SSE2 on x86-64, NEON on ARM.
//
// The simd headers are included by one source file per instruction set. Everything in them has
// internal linkage, and they use no inline function of any library, so that code compiled for one
// instruction set never stands in for another's.
#pragma once

#include <cstdint>

namespace {

struct Portable {
  typedef float F __attribute__((vector_size(16)));
  typedef std::int32_t I __attribute__((vector_size(16)));
  typedef std::uint32_t U __attribute__((vector_size(16)));
  static constexpr int kWidth = 4;

  static F set1(float x) { return F{x, x, x, x}; }
  static F zero() { return set1(0); }
  static F load(const float* p) {
    F v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  static void store(float* p, F v) { __builtin_memcpy(p, &v, sizeof(v)); }
  static F load(const float* p, int n) {
    F v = zero();
    for (int i = 0; i < n && i < kWidth; ++i) v[i] = p[i];
    return v;
  }
  static void store(float* p, F v, int n) {
    for (int i = 0; i < n && i < kWidth; ++i) p[i] = v[i];
  }
  static F load_bf16(const std::uint16_t* p) { return load_bf16(p, kWidth); }
  static F load_bf16(const std::uint16_t* p, int n) {
    U bits = {0, 0, 0, 0};
    for (int i = 0; i < n && i < kWidth; ++i) bits[i] = static_cast<std::uint32_t>(p[i]) << 16;
    return reinterpret_cast<F>(bits);
  }
  static void store_bf16(std::uint16_t* p, F v) { store_bf16(p, v, kWidth); }
  static void store_bf16(std::uint16_t* p, F v, int n) {
    const U bits = reinterpret_cast<U>(v);
    const U rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const I ordered = v == v;
    for (int i = 0; i < n && i < kWidth; ++i) {
      p[i] = static_cast<std::uint16_t>(ordered[i] ? rounded[i] : (bits[i] >> 16 | 0x40u));
    }
  }
  static F add(F a, F b) { return a + b; }
  static F sub(F a, F b) { return a - b; }
  static F mul(F a, F b) { return a * b; }
  static F div(F a, F b) { return a / b; }
  static F fma(F a, F b, F c) { return a * b + c; }
  static F fmaddsub(F a, F b, F c) { return a * b + c * F{-1, 1, -1, 1}; }
  static F max(F a, F b) {  // b where either is NaN
    const I above = a > b;
    return reinterpret_cast<F>((above & reinterpret_cast<I>(a)) |
                               (~above & reinterpret_cast<I>(b)));
  }
  static F min(F a, F b) {
    const I below = a < b;
    return reinterpret_cast<F>((below & reinterpret_cast<I>(a)) |
                               (~below & reinterpret_cast<I>(b)));
  }
  // The nearest integer (|x| < 2^22), and y * 2^n for an integer n in [-127, 127].
  static F round(F x) {
    const F big = set1(12582912.0f);
    return (x + big) - big;
  }
  static F scale2(F y, F n) {
    const I shifted = (__builtin_convertvector(n, I) + 127) << 23;
    return y * reinterpret_cast<F>(shifted);
  }
  static float sum(F v) { return (v[0] + v[2]) + (v[1] + v[3]); }
  static float max(F v) {
    float m = v[0];
    for (int i = 1; i < kWidth; ++i) m = v[i] > m ? v[i] : m;
    return m;
  }
  static F swap_pairs(F v) { return F{v[1], v[0], v[3], v[2]}; }
  static F load_twice(const float* p) { return F{p[0], p[0], p[1], p[1]}; }  // each of W / 2 twice
  // v in the first n lanes, `other` in the rest.
  static F first(F v, int n, F other) {
    for (int i = 0; i < kWidth; ++i) v[i] = i < n ? v[i] : other[i];
    return v;
  }
  // The lowest lane that equals x, or -1.
  static int find(F v, F x) {
    for (int i = 0; i < kWidth; ++i) {
      if (v[i] == x[i]) return i;
    }
    return -1;
  }
};

}  // namespace
