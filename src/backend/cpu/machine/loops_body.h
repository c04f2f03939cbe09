// SPDX-License-Identifier: Apache-2.0
// The float32 multiply-add and the read loop for any vector type V. Twelve independent sums cover
// the latency of two multiply-adds a cycle and leave registers to spare.
#pragma once

#include "backend/cpu/machine/loops.h"

namespace {

inline constexpr int kSums = 12;

template <class T>
inline void keep(T& value) {
  __asm__ volatile("" : : "m"(value) : "memory");
}

template <class V>
void f32_loop(std::int64_t iterations) {
  typename V::F c[kSums];
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) c[i] = V::set1(1.0f + 0.001f * static_cast<float>(i));
  float factors[2] = {0.9999999f, 1e-9f};
  keep(factors);
  const auto a = V::set1(factors[0]);
  const auto b = V::set1(factors[1]);
  for (std::int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 16
    for (int i = 0; i < kSums; ++i) c[i] = V::fma(c[i], a, b);
  }
#pragma GCC unroll 16
  for (int i = 0; i < kSums; ++i) keep(c[i]);
}

template <class V>
void read_loop(const void* p, std::int64_t bytes) {
  constexpr std::int64_t kStep = 128;
  const std::int64_t quarter = bytes / 4;
  const auto* from = static_cast<const char*>(p);
  typename V::F c[4];
  for (auto& sum : c) sum = V::zero();
  for (std::int64_t i = 0; i < quarter; i += kStep) {
#pragma GCC unroll 4
    for (int s = 0; s < 4; ++s) {
      const char* q = from + s * quarter + i;
      __builtin_prefetch(q + 1024);
      __builtin_prefetch(q + 1024 + 64);
      auto sum = c[s];
#pragma GCC unroll 16
      for (std::int64_t j = 0; j < kStep; j += V::kWidth * 4) {
        sum = V::max(sum, V::load(reinterpret_cast<const float*>(q + j)));
      }
      c[s] = sum;
    }
  }
#pragma GCC unroll 4
  for (int s = 0; s < 4; ++s) keep(c[s]);
}

template <class V>
constexpr double kF32Operations = 2.0 * kSums * V::kWidth;

}  // namespace
