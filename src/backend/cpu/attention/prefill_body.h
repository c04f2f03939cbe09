// SPDX-License-Identifier: Apache-2.0
// The pieces of prefill attention over a vector type of ../simd. A product keeps M rows x 32
// columns of sums in registers; per unit of depth it loads a row of the panel and M broadcasts.
#pragma once

#include "backend/cpu/attention/prefill_tile.h"
#include "backend/cpu/simd/fp8.h"
#include "backend/cpu/simd/math.h"

namespace {

using braid::cpu::kBlockKeys;
using braid::cpu::kPanel;
using braid::cpu::TileProduct;
using braid::cpu::TileSoftmax;

// How a float32 operand is multiplied; prefill_avx512bf16.cc has the bfloat16 counterpart.
template <class V>
struct F32Units {
  using F = typename V::F;
  using B = typename V::F;
  using Unit = float;
  using Vector = V;
  static B load(const float* p) { return V::load(p); }
  static B broadcast(const float* p) { return V::set1(*p); }
  static F madd(F sum, B a, B b) { return V::fma(a, b, sum); }
};

template <class U, int M>
inline __attribute__((always_inline)) void multiply_rows(const TileProduct& t, int row) {
  using V = typename U::Vector;
  constexpr int kVectors = kPanel / V::kWidth;
  const auto* a = static_cast<const typename U::Unit*>(t.a) + row * t.a_stride;
  const auto* panel = static_cast<const typename U::Unit*>(t.panel);
  float* c = t.c + row * t.c_stride;
  typename V::F sum[M][kVectors];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      sum[m][v] =
          t.keep ? V::mul(V::load(c + m * t.c_stride + v * V::kWidth), V::set1(t.keep[row + m]))
                 : V::zero();
    }
  }
  for (int k = 0; k < t.depth; ++k) {
    typename U::B b[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) b[v] = U::load(panel + k * kPanel + v * V::kWidth);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const auto x = U::broadcast(a + m * t.a_stride + k);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[m][v] = U::madd(sum[m][v], x, b[v]);
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) V::store(c + m * t.c_stride + v * V::kWidth, sum[m][v]);
  }
}

template <class U, int M>
void multiply_rest(const TileProduct& t, int row) {
  if constexpr (M > 0) {
    t.rows - row == M ? multiply_rows<U, M>(t, row) : multiply_rest<U, M - 1>(t, row);
  }
}

template <class U, int M>
void multiply(const TileProduct& t) {
  int row = 0;
  for (; row + M <= t.rows; row += M) multiply_rows<U, M>(t, row);
  multiply_rest<U, M - 1>(t, row);
}

// Lanes of x, which are keys from i on, that lie in [first, end); `other` in the rest.
template <class V>
typename V::F seen(typename V::F x, int i, int first, int end, typename V::F other) {
  if (end - i < V::kWidth) x = V::first(x, end - i, other);
  return first > i ? V::first(other, first - i, x) : x;
}

// The largest of the scores that are seen and of what came before.
template <class V>
float new_max(const float* s, int first, int end, float max) {
  auto top = V::set1(max);
  for (int i = 0; i < kBlockKeys; i += V::kWidth) {
    top = V::max(top, seen<V>(V::load(s + i), i, first, end, top));
  }
  return V::max(top);
}

// Weights 2^(base2 * (score - max)) of one row and their sum. kBf16: stored as bfloat16.
template <class V, bool kBf16>
float weigh(const float* s, int first, int end, float base2, float max, void* weights, long at) {
  const auto top = V::set1(max);
  const auto factor = V::set1(base2);
  auto sum = V::zero();
  for (int i = 0; i < kBlockKeys; i += V::kWidth) {
    auto p = exp2_below_zero<V>(V::mul(V::sub(V::load(s + i), top), factor));
    p = seen<V>(p, i, first, end, V::zero());
    sum = V::add(sum, p);
    store_row<V>(weights, kBf16, at + i, V::kWidth, p);
  }
  return V::sum(sum);
}

template <class V, bool kBf16>
void softmax(const TileSoftmax& t) {
  const float base2 = t.scale * 1.44269504f;
  for (int row = 0; row < t.rows; row += V::kWidth) {
    const int rows = part<V>(t.rows, row);
    float max[V::kWidth];
    for (int r = 0; r < rows; ++r) {
      const int at = row + r;
      max[r] = new_max<V>(t.scores + at * kBlockKeys, t.first[at], t.end[at], t.max[at]);
    }
    const auto fall =
        V::sub(load_row<V>(t.max, false, row, rows), load_row<V>(max, false, 0, rows));
    store_row<V>(t.keep, false, row, rows, exp2_below_zero<V>(V::mul(fall, V::set1(base2))));
    for (int r = row; r < row + rows; ++r) {
      const float sum = weigh<V, kBf16>(t.scores + r * kBlockKeys,
                                        t.first[r],
                                        t.end[r],
                                        base2,
                                        max[r - row],
                                        t.weights,
                                        static_cast<long>(r) * kBlockKeys);
      t.sum[r] = t.sum[r] * t.keep[r] + sum;
      t.max[r] = max[r - row];
    }
  }
}

template <class V>
void finish(const float* x, float sum, int n, void* out, bool bf16) {
  const auto total = V::set1(sum);
  for (int i = 0; i < n; i += V::kWidth) {
    const int m = part<V>(n, i);
    store_row<V>(out, bf16, i, m, V::div(load_row<V>(x, false, i, m), total));
  }
}

template <class V>
void pack_row(const void* x, bool bf16, int n, void* out, int units) {
  for (int i = 0; i < units; i += V::kWidth) {
    store_row<V>(out, false, i, part<V>(units, i), load_row<V>(x, bf16, i, part<V>(n, i)));
  }
}

inline float element(const void* row, bool bf16, int i) {
  if (!bf16) return static_cast<const float*>(row)[i];
  const std::uint32_t bits = static_cast<std::uint32_t>(static_cast<const std::uint16_t*>(row)[i])
                             << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}

inline void pack_keys(
    const void* const* rows, int count, bool bf16, int dim, int units, void* out) {
  auto* panels = static_cast<float*>(out);
  for (int key = 0; key < kBlockKeys; ++key) {
    float* to = panels + key / kPanel * units * kPanel + key % kPanel;
    for (int i = 0; i < units; ++i) {
      to[i * kPanel] = key < count && i < dim ? element(rows[key], bf16, i) : 0.0f;
    }
  }
}

template <class V>
void pack_values(const void* const* rows, int count, bool bf16, int dim, void* out) {
  auto* panels = static_cast<float*>(out);
  for (int first = 0; first < dim; first += kPanel) {
    for (int key = 0; key < kBlockKeys; ++key, panels += kPanel) {
      for (int i = 0; i < kPanel; i += V::kWidth) {
        const long left = dim - first - i;
        const int m = left > 0 && key < count ? part<V>(left, 0) : 0;
        V::store(panels + i, m ? load_row<V>(rows[key], bf16, first + i, m) : V::zero());
      }
    }
  }
}

// M rows at a time.
template <class V, int M>
constexpr braid::cpu::PrefillTier prefill_tier() {
  return {1,
          pack_row<V>,
          pack_keys,
          pack_values<V>,
          multiply<F32Units<V>, M>,
          softmax<V, false>,
          finish<V>,
          decode_fp8};
}

}  // namespace
