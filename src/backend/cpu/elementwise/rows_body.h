// SPDX-License-Identifier: Apache-2.0
// The row-wise primitives over a vector type of ../simd. Included by one file per instruction set.
#pragma once

#include "backend/cpu/elementwise/rows.h"
#include "backend/cpu/simd/fp8.h"
#include "backend/cpu/simd/math.h"

namespace {

using braid::cpu::HeadRow;
using braid::cpu::RouteRow;

template <class V>
void convert(const void* x, bool x_bf16, std::int64_t n, void* out, bool bf16) {
  for (std::int64_t i = 0; i < n; i += V::kWidth) {
    const int m = part<V>(n, i);
    store_row<V>(out, bf16, i, m, load_row<V>(x, x_bf16, i, m));
  }
}

inline float square_root(float x) {
  return __builtin_sqrtf(x);
}

template <class V>
float rms_factor(const float* x, std::int64_t n, float eps) {
  auto a = V::zero();
  auto b = V::zero();
  std::int64_t i = 0;
  for (; i + 2 * V::kWidth <= n; i += 2 * V::kWidth) {
    const auto p = V::load(x + i);
    const auto q = V::load(x + i + V::kWidth);
    a = V::fma(p, p, a);
    b = V::fma(q, q, b);
  }
  for (; i < n; i += V::kWidth) {
    const auto p = load_row<V>(x, false, i, part<V>(n, i));
    a = V::fma(p, p, a);
  }
  return 1.0f / square_root(V::sum(V::add(a, b)) / static_cast<float>(n) + eps);
}

template <class V>
void rms_norm(const float* x,
              const float* weight,
              float eps,
              std::int64_t n,
              void* out,
              bool bf16,
              float* out2) {
  const auto factor = V::set1(rms_factor<V>(x, n, eps));
  for (std::int64_t i = 0; i < n; i += V::kWidth) {
    const int m = part<V>(n, i);
    const auto w = load_row<V>(weight, false, i, m);
    const auto y = V::mul(V::mul(load_row<V>(x, false, i, m), factor), w);
    store_row<V>(out, bf16, i, m, y);
    if (out2) store_row<V>(out2, false, i, m, y);
  }
}

// A head's elements after the norm.
template <class V>
struct NormedHead {
  const HeadRow& h;
  typename V::F factor;
  float one_factor;

  explicit NormedHead(const HeadRow& head) : h(head) {
    one_factor = head.norm ? rms_factor<V>(head.x, head.dim, head.eps) * head.scale : head.scale;
    factor = V::set1(one_factor);
  }
  typename V::F load(long i, int m) const {
    const auto x = V::mul(load_row<V>(h.x, false, i, m), factor);
    return h.norm ? V::mul(x, load_row<V>(h.norm, false, i, m)) : x;
  }
  float at(int i) const { return h.norm ? h.x[i] * one_factor * h.norm[i] : h.x[i] * one_factor; }
};

template <class V>
void store_one(void* out, bool bf16, int i, float value) {
  store_row<V>(out, bf16, i, 1, V::set1(value));
}

template <class V>
void rotate_one(const NormedHead<V>& head, int pair, void* out, bool bf16) {
  const HeadRow& h = head.h;
  const int first = h.interleaved ? 2 * pair : pair;
  const int second = h.interleaved ? 2 * pair + 1 : pair + h.rope_dim / 2;
  const float a = head.at(first);
  const float b = head.at(second);
  store_one<V>(out, bf16, first, a * h.cos[pair] - b * h.sin[pair]);
  store_one<V>(out, bf16, second, b * h.cos[pair] + a * h.sin[pair]);
}

template <class V>
void rotate_interleaved(const NormedHead<V>& head, void* out, bool bf16) {
  const HeadRow& h = head.h;
  int i = 0;
  for (; i + V::kWidth <= h.rope_dim; i += V::kWidth) {
    const auto x = head.load(i, V::kWidth);
    const auto crossed = V::mul(V::swap_pairs(x), V::load_twice(h.sin + i / 2));
    const auto y = V::fmaddsub(x, V::load_twice(h.cos + i / 2), crossed);
    store_row<V>(out, bf16, i, V::kWidth, y);
  }
  for (int pair = i / 2; pair < h.rope_dim / 2; ++pair) rotate_one<V>(head, pair, out, bf16);
}

template <class V>
void rotate_halves(const NormedHead<V>& head, void* out, bool bf16) {
  const HeadRow& h = head.h;
  const int half = h.rope_dim / 2;
  int i = 0;
  for (; i + V::kWidth <= half; i += V::kWidth) {
    const auto a = head.load(i, V::kWidth);
    const auto b = head.load(i + half, V::kWidth);
    const auto c = V::load(h.cos + i);
    const auto s = V::load(h.sin + i);
    store_row<V>(out, bf16, i, V::kWidth, V::sub(V::mul(a, c), V::mul(b, s)));
    store_row<V>(out, bf16, i + half, V::kWidth, V::fma(b, c, V::mul(a, s)));
  }
  for (; i < half; ++i) rotate_one<V>(head, i, out, bf16);
}

template <class V>
void head(const HeadRow& h, void* out, bool bf16) {
  const NormedHead<V> normed(h);
  h.interleaved ? rotate_interleaved<V>(normed, out, bf16) : rotate_halves<V>(normed, out, bf16);
  for (int i = h.rope_dim / 2 * 2; i < h.dim; i += V::kWidth) {
    const int m = part<V>(h.dim, i);
    store_row<V>(out, bf16, i, m, normed.load(i, m));
  }
}

constexpr float kNever = -__builtin_inff();

template <class V>
float largest(const float* x, int n) {
  auto top = V::set1(kNever);
  for (int i = 0; i < n; i += V::kWidth) {
    const int m = part<V>(n, i);
    const auto v = load_row<V>(x, false, i, m);
    top = V::max(top, m == V::kWidth ? v : V::first(v, m, top));
  }
  return V::max(top);
}

// scores[0, n): softmax or sigmoid of the logits.
template <class V>
void score(const float* logits, int n, bool sigmoid, float* scores) {
  const auto top = V::set1(sigmoid ? 0.0f : largest<V>(logits, n));
  auto sum = V::zero();
  for (int i = 0; i < n; i += V::kWidth) {
    const int m = part<V>(n, i);
    const auto x = load_row<V>(logits, false, i, m);
    const auto y = sigmoid ? sigmoid_of<V>(x) : exp_of<V>(V::sub(x, top));
    sum = V::add(sum, m == V::kWidth ? y : V::first(y, m, V::zero()));
    store_row<V>(scores, false, i, m, y);
  }
  if (sigmoid) return;
  const auto total = V::set1(V::sum(sum));
  for (int i = 0; i < n; i += V::kWidth) {
    const int m = part<V>(n, i);
    store_row<V>(scores, false, i, m, V::div(load_row<V>(scores, false, i, m), total));
  }
}

// The lowest index of the largest element.
template <class V>
int find_largest(const float* x, int n) {
  const float top = largest<V>(x, n);
  const auto wanted = V::set1(top);
  for (int i = 0; i < n; i += V::kWidth) {
    const int m = part<V>(n, i);
    const int lane = V::find(load_row<V>(x, false, i, m), wanted);
    if (lane >= 0 && lane < m) return i + lane;
  }
  return 0;
}

inline float group_score(const float* choice, int size, bool two) {
  float first = kNever;
  float second = kNever;
  for (int i = 0; i < size; ++i) {
    const float x = choice[i];
    const float lower = x > first ? first : x;
    second = lower > second ? lower : second;
    first = x > first ? x : first;
  }
  return two && size > 1 ? first + second : first;
}

template <class V>
void drop_weak_groups(const RouteRow& r, float* choice) {
  float scores[braid::cpu::kMaxRoutedExperts];
  const int size = r.experts / r.groups;
  for (int g = 0; g < r.groups; ++g) {
    scores[g] = group_score(choice + g * size, size, r.sum_of_top_two);
  }
  bool keep[braid::cpu::kMaxRoutedExperts] = {};
  for (int i = 0; i < r.topk_groups; ++i) {
    const int best = find_largest<V>(scores, r.groups);
    keep[best] = true;
    scores[best] = kNever;
  }
  for (int g = 0; g < r.groups; ++g) {
    for (int i = 0; !keep[g] && i < size; ++i) choice[g * size + i] = kNever;
  }
}

template <class V>
void route(
    const float* logits, const float* bias, const RouteRow& r, std::int32_t* ids, float* weights) {
  float scores[braid::cpu::kMaxRoutedExperts];
  float choice[braid::cpu::kMaxRoutedExperts];
  score<V>(logits, r.experts, r.sigmoid, scores);
  for (int i = 0; i < r.experts; i += V::kWidth) {
    const int m = part<V>(r.experts, i);
    auto x = load_row<V>(scores, false, i, m);
    if (bias) x = V::add(x, load_row<V>(bias, false, i, m));
    store_row<V>(choice, false, i, m, x);
  }
  if (r.groups > 1) drop_weak_groups<V>(r, choice);
  float sum = 0;
  for (int j = 0; j < r.top_k; ++j) {
    ids[j] = find_largest<V>(choice, r.experts);
    choice[ids[j]] = kNever;
    weights[j] = scores[ids[j]];
    sum += weights[j];
  }
  const float factor = r.normalise ? r.scale / (sum + 1e-20f) : r.scale;
  for (int j = 0; j < r.top_k; ++j) weights[j] *= factor;
}

struct CombineRow {
  const void* rows;
  bool rows_bf16;
  std::int64_t stride;
  const std::int32_t* slots;
  const float* weights;
  int count;
  void* out;
  bool out_bf16;
  bool accumulate;

  const void* row(int j) const {
    const std::int64_t at = slots[j] * stride;
    return rows_bf16 ? static_cast<const void*>(static_cast<const std::uint16_t*>(rows) + at)
                     : static_cast<const void*>(static_cast<const float*>(rows) + at);
  }
};

// kVectors vectors of the sums from column i on, m columns in the last one.
template <class V, int kVectors>
inline void combine_columns(const CombineRow& c, std::int64_t i, int m) {
  typename V::F sum[kVectors];
  for (int k = 0; k < kVectors; ++k) {
    sum[k] = c.accumulate ? load_row<V>(c.out, c.out_bf16, i + k * V::kWidth, m) : V::set1(0.0f);
  }
  for (int j = 0; j < c.count; ++j) {
    const auto weight = V::set1(c.weights[j]);
    const void* row = c.row(j);
    for (int k = 0; k < kVectors; ++k) {
      sum[k] = V::fma(weight, load_row<V>(row, c.rows_bf16, i + k * V::kWidth, m), sum[k]);
    }
  }
  for (int k = 0; k < kVectors; ++k) store_row<V>(c.out, c.out_bf16, i + k * V::kWidth, m, sum[k]);
}

template <class V>
void combine(const void* rows,
             bool rows_bf16,
             std::int64_t stride,
             const std::int32_t* slots,
             const float* weights,
             int count,
             void* out,
             bool out_bf16,
             std::int64_t n,
             bool accumulate) {
  const CombineRow c{rows, rows_bf16, stride, slots, weights, count, out, out_bf16, accumulate};
  std::int64_t i = 0;
  for (; i + 4 * V::kWidth <= n; i += 4 * V::kWidth) combine_columns<V, 4>(c, i, V::kWidth);
  for (; i < n; i += V::kWidth) combine_columns<V, 1>(c, i, part<V>(n, i));
}

template <class V>
constexpr braid::cpu::RowKernels row_kernels() {
  return {convert<V>, rms_norm<V>, head<V>, route<V>, combine<V>, encode_fp8, decode_fp8};
}

}  // namespace
