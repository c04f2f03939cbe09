// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include "ops/reference.h"
#include "ops/reference/element.h"

namespace braid::ops::reference {
namespace {

using Values = std::vector<float>;

void rotate(float* x, const RopeTable& rope, std::int32_t position) {
  const int half = rope.dim / 2;
  for (int i = 0; i < half; ++i) {
    const float c = rope.cos[static_cast<std::int64_t>(position) * half + i];
    const float s = rope.sin[static_cast<std::int64_t>(position) * half + i];
    float& first = x[rope.interleaved ? 2 * i : i];
    float& second = x[rope.interleaved ? 2 * i + 1 : i + half];
    const float a = first;
    const float b = second;
    first = a * c - b * s;
    second = b * c + a * s;
  }
}

void normalise(float* x, int count, const float* weight, float eps) {
  float sum = 0;
  for (int i = 0; i < count; ++i) sum += x[i] * x[i];
  const float factor = 1.0f / std::sqrt(sum / static_cast<float>(count) + eps);
  for (int i = 0; i < count; ++i) x[i] = x[i] * factor * weight[i];
}

void write(const Activations& to, std::int64_t row, std::int64_t first, const float* x, int count) {
  for (int i = 0; i < count; ++i) store(to.row(row), to.dtype, first + i, x[i]);
}

void write_cached(const Activations& cache, std::int64_t row, const float* x, int count, const Fp8Row& fp8) {
  cache.dtype == DType::kF8E4M3 ? fp8.put(cache.row(row), x) : write(cache, row, 0, x, count);
}

void mla_store(const MlaStore::Args& a, Stream&) {
  const int lora = static_cast<int>(a.latent.cols) - a.rope.dim;
  for (std::int64_t t = 0; t < a.latent.rows; ++t) {
    if (a.slots[t] < 0) continue;
    Values x(a.latent.row(t), a.latent.row(t) + a.latent.cols);
    normalise(x.data(), lora, a.norm_weight, a.eps);
    rotate(x.data() + lora, a.rope, a.positions[t]);
    write_cached(a.cache, a.slots[t], x.data(), lora + a.rope.dim, Fp8Row::latent(lora, a.rope.dim));
  }
}

void mla_query(const MlaQuery::Args& a, Stream&) {
  const int dim = a.nope_dim + a.rope.dim;
  for (std::int64_t t = 0; t < a.q.rows; ++t) {
    for (int h = 0; h < a.heads; ++h) {
      Values x(a.q.row(t) + h * dim, a.q.row(t) + (h + 1) * dim);
      rotate(x.data() + a.nope_dim, a.rope, a.positions[t]);
      write(a.nope, t, h * a.nope_head_stride, x.data(), a.nope_dim);
      write(a.rope_out, t, h * a.rope_head_stride, x.data() + a.nope_dim, a.rope.dim);
    }
  }
}

void mla_gather(const MlaGather::Args& a, Stream&) {
  for (std::int64_t r = 0; r < a.latent.rows; ++r) {
    const std::int64_t lora = a.latent.cols - a.rope_dim;
    for (std::int64_t c = 0; c < a.latent.cols; ++c) {
      const std::byte* row = a.cache.row(a.rows[r]);
      const bool fp8 = a.cache.dtype == DType::kF8E4M3;
      const float value = fp8 ? Fp8Row::latent(static_cast<int>(lora), a.rope_dim).at(row, c) : load(row, a.cache.dtype, c);
      store(a.latent.row(r), a.latent.dtype, c, value);
      for (int h = 0; c >= lora && h < a.heads; ++h) store(a.keys.row(r), a.keys.dtype, h * a.key_head_stride + c - lora, value);
    }
  }
}

void gqa_prepare(const GqaPrepare::Args& a, Stream&) {
  for (std::int64_t t = 0; t < a.qkv.rows; ++t) {
    Values x(a.qkv.row(t), a.qkv.row(t) + (a.heads + 2 * a.kv_heads) * a.dim);
    for (int h = 0; h < a.heads + a.kv_heads; ++h) {
      const float* norm = h < a.heads ? a.q_norm : a.k_norm;
      if (norm) normalise(x.data() + h * a.dim, a.dim, norm, a.eps);
      rotate(x.data() + h * a.dim, a.rope, a.positions[t]);
    }
    for (int i = 0; a.q_scales && i < a.heads * a.dim; ++i) x[i] *= a.q_scales[a.positions[t]];
    write(a.q, t, 0, x.data(), a.heads * a.dim);
    if (a.slots[t] < 0) continue;
    write_cached(a.cache, a.slots[t], x.data() + a.heads * a.dim, 2 * a.kv_heads * a.dim, Fp8Row::keys_and_values(a.kv_heads, a.dim));
  }
}

}  // namespace

extern const Kernel<MlaStore> kMlaStore{
    "reference", 0, always<MlaStore::Problem>, mla_store, nullptr};
extern const Kernel<MlaQuery> kMlaQuery{
    "reference", 0, always<MlaQuery::Problem>, mla_query, nullptr};
extern const Kernel<MlaGather> kMlaGather{
    "reference", 0, always<MlaGather::Problem>, mla_gather, nullptr};
extern const Kernel<GqaPrepare> kGqaPrepare{
    "reference", 0, always<GqaPrepare::Problem>, gqa_prepare, nullptr};

}  // namespace braid::ops::reference
