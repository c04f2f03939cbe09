// SPDX-License-Identifier: Apache-2.0
// Functions over the vector types of this folder. No library function is called.
#pragma once

#include <cstdint>

namespace {

// e^x within 2 ulp; 0 below about -88, saturated above 88, NaN stays NaN. x is reduced to
// r = x - n ln 2 with |r| <= ln 2 / 2, whose exponential a polynomial of degree 6 gives.
template <class V>
inline typename V::F exp_of(typename V::F x) {
  using F = typename V::F;
  x = V::min(V::set1(88.0f), V::max(V::set1(-88.0f), x));
  const F n = V::round(V::mul(x, V::set1(1.44269504f)));
  F r = V::fma(n, V::set1(-0.693359375f), x);
  r = V::fma(n, V::set1(2.12194440e-4f), r);
  F y = V::set1(1.9875691500e-4f);
  y = V::fma(y, r, V::set1(1.3981999507e-3f));
  y = V::fma(y, r, V::set1(8.3334519073e-3f));
  y = V::fma(y, r, V::set1(4.1665795894e-2f));
  y = V::fma(y, r, V::set1(1.6666665459e-1f));
  y = V::fma(y, r, V::set1(5.0000001201e-1f));
  y = V::add(V::fma(V::mul(r, r), y, r), V::set1(1.0f));
  return V::scale2(y, n);
}

// 2^x for x <= 0 within 2 ulp; 0 below about -126.
template <class V>
inline typename V::F exp2_below_zero(typename V::F x) {
  using F = typename V::F;
  x = V::max(V::set1(-127.0f), x);
  const F n = V::round(x);
  const F r = V::sub(x, n);
  F y = V::set1(1.535336188e-4f);
  y = V::fma(y, r, V::set1(1.339887440e-3f));
  y = V::fma(y, r, V::set1(9.618437357e-3f));
  y = V::fma(y, r, V::set1(5.550332471e-2f));
  y = V::fma(y, r, V::set1(2.402264791e-1f));
  y = V::fma(y, r, V::set1(6.931472028e-1f));
  return V::scale2(V::fma(y, r, V::set1(1.0f)), n);
}

template <class V>
inline typename V::F sigmoid_of(typename V::F x) {
  const auto one = V::set1(1.0f);
  return V::div(one, V::add(one, exp_of<V>(V::sub(V::zero(), x))));
}

// Elements [i, i + n) of a row of bfloat16 or float32; n < V::kWidth takes a partial vector.
template <class V>
inline typename V::F load_row(const void* row, bool bf16, long i, int n) {
  if (bf16) {
    const auto* p = static_cast<const std::uint16_t*>(row) + i;
    return n >= V::kWidth ? V::load_bf16(p) : V::load_bf16(p, n);
  }
  const auto* p = static_cast<const float*>(row) + i;
  return n >= V::kWidth ? V::load(p) : V::load(p, n);
}

template <class V>
inline void store_row(void* row, bool bf16, long i, int n, typename V::F v) {
  if (bf16) {
    auto* p = static_cast<std::uint16_t*>(row) + i;
    n >= V::kWidth ? V::store_bf16(p, v) : V::store_bf16(p, v, n);
  } else {
    auto* p = static_cast<float*>(row) + i;
    n >= V::kWidth ? V::store(p, v) : V::store(p, v, n);
  }
}

// How many of the elements from i on, of `count`, one vector takes.
template <class V>
inline int part(long count, long i) {
  return count - i < V::kWidth ? static_cast<int>(count - i) : V::kWidth;
}

}  // namespace
