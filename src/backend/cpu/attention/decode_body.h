// SPDX-License-Identifier: Apache-2.0
// Decode attention in float32 over a vector type of ../simd. Up to four heads share a pass over
// the keys: dot products, one softmax over the whole part, then weighted values.
#pragma once

#include "backend/cpu/attention/decode_part.h"
#include "backend/cpu/simd/fp8.h"
#include "backend/cpu/simd/math.h"

namespace {

using braid::cpu::DecodePart;
using braid::cpu::kPartHeads;
using braid::cpu::kPartKeys;

struct HeadSoftmax {
  float max;
  float sum;
};

// s becomes exp(scale * s - max). `sink` is null or one more logit of the softmax.
template <class V>
HeadSoftmax softmax_part(float* s, int keys, float scale, const float* sink) {
  auto top = V::set1(sink ? *sink : -3.0e38f);
  for (int j = 0; j < keys; j += V::kWidth) {
    const int m = part<V>(keys, j);
    const auto x = V::mul(load_row<V>(s, false, j, m), V::set1(scale));
    store_row<V>(s, false, j, m, x);
    top = V::max(top, V::first(x, m, top));
  }
  const float max = V::max(top);
  auto sum = V::zero();
  for (int j = 0; j < keys; j += V::kWidth) {
    const int m = part<V>(keys, j);
    const auto p = exp_of<V>(V::sub(load_row<V>(s, false, j, m), V::set1(max)));
    store_row<V>(s, false, j, m, p);
    sum = V::add(sum, V::first(p, m, V::zero()));
  }
  const float total = V::sum(sum);
  return {max, sink ? total + V::max(exp_of<V>(V::set1(*sink - max))) : total};
}

template <class V, int H>
void part_scores(const DecodePart& d, const float* q, float* s) {
  for (int j = 0; j < d.keys; ++j) {
    typename V::F sum[H];
    for (auto& x : sum) x = V::zero();
    for (int i = 0; i < d.qk_dim; i += V::kWidth) {
      const int m = part<V>(d.qk_dim, i);
      const auto k = load_row<V>(d.k[j], d.cache_bf16, i, m);
      for (int h = 0; h < H; ++h) {
        sum[h] = V::fma(load_row<V>(q + h * d.qk_dim, false, i, m), k, sum[h]);
      }
    }
    for (int h = 0; h < H; ++h) s[h * kPartKeys + j] = V::sum(sum[h]);
  }
}

template <class V>
void store_result(const DecodePart& d, int head, int column, int n, typename V::F x, float sum) {
  if (d.partial) {
    store_row<V>(d.partial + head * d.partial_stride, false, column, n, x);
  } else {
    store_row<V>(
        d.final, d.q_bf16, static_cast<long>(head) * d.v_dim + column, n, V::div(x, V::set1(sum)));
  }
}

template <class V, int H>
void part_values(const DecodePart& d, int head, const float* p, const HeadSoftmax* softmax) {
  for (int i = 0; i < d.v_dim; i += V::kWidth) {
    const int m = part<V>(d.v_dim, i);
    typename V::F sum[H];
    for (auto& x : sum) x = V::zero();
    for (int j = 0; j < d.keys; ++j) {
      const auto v = load_row<V>(d.v[j], d.cache_bf16, i, m);
      for (int h = 0; h < H; ++h) sum[h] = V::fma(V::set1(p[h * kPartKeys + j]), v, sum[h]);
    }
    for (int h = 0; h < H; ++h) store_result<V>(d, head + h, i, m, sum[h], softmax[h].sum);
  }
}

template <class V, int H>
void part_heads(const DecodePart& d, int head) {
  float* s = d.scratch;
  float* q = s + kPartHeads * kPartKeys;
  for (int i = 0; i < H * d.qk_dim; i += V::kWidth) {
    const int m = part<V>(H * d.qk_dim, i);
    const long at = static_cast<long>(head) * d.qk_dim + i;
    store_row<V>(q, false, i, m, load_row<V>(d.q, d.q_bf16, at, m));
  }
  part_scores<V, H>(d, q, s);
  HeadSoftmax softmax[H];
  for (int h = 0; h < H; ++h) {
    softmax[h] = softmax_part<V>(s + h * kPartKeys, d.keys, d.scale, d.sinks ? d.sinks + head + h : nullptr);
    if (!d.partial) continue;
    float* end = d.partial + (head + h) * d.partial_stride + d.v_dim;
    end[0] = softmax[h].max;
    end[1] = softmax[h].sum;
  }
  part_values<V, H>(d, head, s, softmax);
}

template <class V>
void decode_part(const DecodePart& d) {
  for (int head = 0; head < d.heads; head += kPartHeads) {
    switch (d.heads - head) {
      case 1:
        part_heads<V, 1>(d, head);
        break;
      case 2:
        part_heads<V, 2>(d, head);
        break;
      case 3:
        part_heads<V, 3>(d, head);
        break;
      default:
        part_heads<V, 4>(d, head);
        break;
    }
  }
}

template <class V>
void merge_parts(const float* partials, long stride, int count, int v_dim, void* out, bool bf16) {
  float max = partials[v_dim];
  for (int s = 1; s < count; ++s) {
    const float m = partials[s * stride + v_dim];
    max = m > max ? m : max;
  }
  auto sum = V::zero();
  for (int s = 0; s < count; ++s) {
    const float* end = partials + s * stride + v_dim;
    sum = V::fma(exp_of<V>(V::set1(end[0] - max)), V::set1(end[1]), sum);
  }
  for (int i = 0; i < v_dim; i += V::kWidth) {
    const int m = part<V>(v_dim, i);
    auto x = V::zero();
    for (int s = 0; s < count; ++s) {
      const float* part_out = partials + s * stride;
      x = V::fma(exp_of<V>(V::set1(part_out[v_dim] - max)), load_row<V>(part_out, false, i, m), x);
    }
    store_row<V>(out, bf16, i, m, V::div(x, sum));
  }
}

}  // namespace
