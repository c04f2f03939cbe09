// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/elementwise/elementwise.h"

#include <cmath>
#include <cstring>

#include "backend/cpu/attention/fp8_rows.h"
#include "backend/cpu/elementwise/rows.h"
#include "backend/cpu/simd/tier.h"
#include "backend/cpu/stream.h"
#include "ops/reference.h"

namespace braid::cpu {
namespace {

constexpr double kNsPerElement = 0.2;

bool is_bf16(DType dtype) {
  return dtype == DType::kBF16;
}

template <const RowKernels& K>
void embed(const ops::Embed::Args& a, braid::Stream& s) {
  const std::int64_t cols = a.out.cols;
  const auto* table = static_cast<const std::byte*>(a.table);
  const auto row_bytes = static_cast<std::int64_t>(size_of(a.dtype)) * cols;
  const auto rows = static_cast<std::int64_t>(a.ids.size());
  stream(s).split(
      rows,
      kNsPerElement * static_cast<double>(cols),
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t t = begin; t < end; ++t) {
          K.convert(table + a.ids[t] * row_bytes, is_bf16(a.dtype), cols, a.out.row(t), false);
        }
      });
}

template <const RowKernels& K>
void rms_norm(const ops::RmsNorm::Args& a, braid::Stream& s) {
  stream(s).split(
      a.x.rows,
      kNsPerElement * static_cast<double>(a.x.cols),
      [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t t = begin; t < end; ++t) {
          float* out2 = a.out2.data ? a.out2.row(t) : nullptr;
          K.rms_norm(
              a.x.row(t), a.weight, a.eps, a.x.cols, a.out.row(t), is_bf16(a.out.dtype), out2);
        }
      });
}

HeadRow head_row(const float* x, int dim, const ops::RopeTable& rope, std::int32_t position) {
  const std::int64_t at = static_cast<std::int64_t>(position) * (rope.dim / 2);
  return {x, dim, nullptr, 0, rope.cos + at, rope.sin + at, rope.dim, rope.interleaved, 1.0f};
}

std::byte* element(const Activations& to, std::int64_t row, std::int64_t column) {
  return to.row(row) + static_cast<std::size_t>(column) * size_of(to.dtype);
}

bool is_fp8(const Activations& cache) {
  return cache.dtype == DType::kF8E4M3;
}

// The codes and scales of a row.
template <const RowKernels& K>
void encode_row(const ops::Fp8Row& format, const float* x, std::byte* row) {
  auto* codes = reinterpret_cast<std::uint8_t*>(row);
  for (int first = 0; first < format.elements; first += format.group) {
    const float scale = K.encode_fp8(x + first, std::min(format.group, format.elements - first), codes + first);
    std::memcpy(row + format.scales_at() + 4 * (first / format.group), &scale, sizeof(scale));
  }
}

// `space`: floats for the codes of an FP8 row.
template <const RowKernels& K>
void mla_row(const ops::MlaStore::Args& a, std::int64_t t, float* space) {
  const std::int64_t lora = a.latent.cols - a.rope.dim;
  const std::int32_t slot = a.slots[t];
  if (slot < 0) return;
  const float* x = a.latent.row(t);
  const HeadRow rope = head_row(x + lora, a.rope.dim, a.rope, a.positions[t]);
  if (is_fp8(a.cache)) {
    const auto format = ops::Fp8Row::latent(static_cast<int>(lora), a.rope.dim);
    K.rms_norm(x, a.norm_weight, a.eps, lora, space, false, nullptr);
    encode_row<K>(format, space, a.cache.row(slot));
    K.head(rope, a.cache.row(slot) + format.plain_at(), true);
    return;
  }
  const bool bf16 = is_bf16(a.cache.dtype);
  K.rms_norm(x, a.norm_weight, a.eps, lora, a.cache.row(slot), bf16, nullptr);
  K.head(rope, element(a.cache, slot, lora), bf16);
}

template <const RowKernels& K>
void mla_store(const ops::MlaStore::Args& a, braid::Stream& s) {
  Stream& cpu = stream(s);
  cpu.split(a.latent.rows, kNsPerElement * static_cast<double>(a.latent.cols), [&](std::int64_t begin, std::int64_t end, int worker) {
    auto* space = is_fp8(a.cache) ? reinterpret_cast<float*>(cpu.scratch(worker, static_cast<std::size_t>(a.latent.cols) * sizeof(float))) : nullptr;
    for (std::int64_t t = begin; t < end; ++t) mla_row<K>(a, t, space);
  });
}

template <const RowKernels& K>
void mla_query(const ops::MlaQuery::Args& a, braid::Stream& s) {
  const int dim = a.nope_dim + a.rope.dim;
  stream(s).split(a.q.rows,
                  kNsPerElement * static_cast<double>(dim * a.heads),
                  [&](std::int64_t begin, std::int64_t end, int) {
                    for (std::int64_t t = begin; t < end; ++t) {
                      for (int h = 0; h < a.heads; ++h) {
                        const float* x = a.q.row(t) + static_cast<std::int64_t>(h) * dim;
                        K.convert(x,
                                  false,
                                  a.nope_dim,
                                  element(a.nope, t, h * a.nope_head_stride),
                                  is_bf16(a.nope.dtype));
                        K.head(head_row(x + a.nope_dim, a.rope.dim, a.rope, a.positions[t]),
                               element(a.rope_out, t, h * a.rope_head_stride),
                               is_bf16(a.rope_out.dtype));
                      }
                    }
                  });
}

// A cached row as `latent` has it.
template <const RowKernels& K>
void fetch_row(const ops::MlaGather::Args& a, std::int64_t r, std::uint16_t* space) {
  const std::byte* from = a.cache.row(a.rows[r]);
  std::byte* to = a.latent.row(r);
  const auto cols = static_cast<int>(a.latent.cols);
  if (!is_fp8(a.cache)) {
    std::memcpy(to, from, static_cast<std::size_t>(cols) * size_of(a.cache.dtype));
    return;
  }
  const auto format = ops::Fp8Row::latent(cols - a.rope_dim, a.rope_dim);
  if (is_bf16(a.latent.dtype)) return decode_row(format, from, 0, cols, K.decode_fp8, reinterpret_cast<std::uint16_t*>(to));
  decode_row(format, from, 0, cols, K.decode_fp8, space);
  K.convert(space, true, cols, to, false);
}

template <const RowKernels& K>
void mla_gather(const ops::MlaGather::Args& a, braid::Stream& s) {
  Stream& cpu = stream(s);
  const std::size_t unit = size_of(a.latent.dtype), row = static_cast<std::size_t>(a.latent.cols) * unit;
  const std::size_t rope = static_cast<std::size_t>(a.rope_dim) * unit;
  const double cost = 10.0 + 5.0 * a.heads;
  cpu.split(a.latent.rows, cost, [&](std::int64_t begin, std::int64_t end, int worker) {
    auto* space = reinterpret_cast<std::uint16_t*>(cpu.scratch(worker, 2 * static_cast<std::size_t>(a.latent.cols)));
    for (std::int64_t r = begin; r < end; ++r) {
      fetch_row<K>(a, r, space);
      const std::byte* from = a.latent.row(r);
      for (int h = 0; h < a.heads; ++h) std::memcpy(element(a.keys, r, h * a.key_head_stride), from + (row - rope), rope);
    }
  });
}

// `space`: floats for the keys of an FP8 row.
template <const RowKernels& K>
void gqa_row(const ops::GqaPrepare::Args& a, std::int64_t t, float* space) {
  const float* x = a.qkv.row(t);
  for (int h = 0; h < a.heads; ++h, x += a.dim) {
    HeadRow head = head_row(x, a.dim, a.rope, a.positions[t]);
    head.norm = a.q_norm;
    head.eps = a.eps;
    if (a.q_scales) head.scale = a.q_scales[a.positions[t]];
    K.head(head, element(a.q, t, static_cast<std::int64_t>(h) * a.dim), is_bf16(a.q.dtype));
  }
  const std::int32_t slot = a.slots[t];
  if (slot < 0) return;
  const bool bf16 = is_bf16(a.cache.dtype);
  for (int h = 0; h < a.kv_heads; ++h, x += a.dim) {
    HeadRow head = head_row(x, a.dim, a.rope, a.positions[t]);
    head.norm = a.k_norm;
    head.eps = a.eps;
    const std::int64_t at = static_cast<std::int64_t>(h) * a.dim;
    space ? K.head(head, space + at, false) : K.head(head, element(a.cache, slot, at), bf16);
  }
  const std::int64_t values = static_cast<std::int64_t>(a.kv_heads) * a.dim;
  if (!space) return K.convert(x, false, values, element(a.cache, slot, values), bf16);
  std::copy(x, x + values, space + values);
  encode_row<K>(ops::Fp8Row::keys_and_values(a.kv_heads, a.dim), space, a.cache.row(slot));
}

template <const RowKernels& K>
void gqa_prepare(const ops::GqaPrepare::Args& a, braid::Stream& s) {
  Stream& cpu = stream(s);
  const auto bytes = static_cast<std::size_t>(2 * a.kv_heads * a.dim) * sizeof(float);
  cpu.split(a.qkv.rows, 2 * kNsPerElement * static_cast<double>(a.qkv.cols), [&](std::int64_t begin, std::int64_t end, int worker) {
    auto* space = is_fp8(a.cache) ? reinterpret_cast<float*>(cpu.scratch(worker, bytes)) : nullptr;
    for (std::int64_t t = begin; t < end; ++t) gqa_row<K>(a, t, space);
  });
}

template <const RowKernels& K>
void route(const ops::Route::Args& a, braid::Stream& s) {
  const ops::Route::Problem& p = *a.problem;
  const RouteRow row{p.experts,
                     p.top_k,
                     p.groups,
                     p.topk_groups,
                     p.scoring == ops::Scoring::kSigmoid,
                     p.group_score == ops::GroupScore::kSumOfTopTwo,
                     p.normalise,
                     p.scale};
  const double cost = 80 + p.experts + 0.3 * p.experts * p.top_k;
  stream(s).split(a.logits.rows, cost, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      K.route(a.logits.row(t), a.bias, row, a.ids + t * p.top_k, a.weights + t * p.top_k);
      if (p.shared_gate) a.shared_weights[t] = 1.0f / (1.0f + std::exp(-a.logits.row(t)[p.experts]));
    }
  });
}

template <const RowKernels& K>
void combine(const ops::Combine::Args& a, braid::Stream& s) {
  const double cost = 0.05 * static_cast<double>(a.out.cols * (a.per_token + 1));
  stream(s).split(a.results(), cost, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      K.combine(a.rows.data,
                a.rows.bf16(),
                a.rows.stride,
                a.slots + a.first(t),
                a.weights + a.first(t),
                a.entries(t),
                a.to(t),
                a.out.bf16(),
                a.out.cols,
                a.accumulate);
    }
  });
}

std::string limits(const ops::Route::Problem& p) {
  return p.experts > kMaxRoutedExperts ? "has more than 1024 experts" : "";
}
template <class Problem>
std::string limits(const Problem&) {
  return {};
}

template <class Op, const Tier& T>
std::string supports(const typename Op::Problem& p, const Capabilities& caps) {
  const std::string lacking = missing(caps, T);
  return lacking.empty() ? limits(p) : lacking;
}

template <class Op, const Tier& T>
ops::Kernel<Op> entry(void (*run)(const typename Op::Args&, braid::Stream&)) {
  return {T.name, T.rank, supports<Op, T>, run, nullptr};
}

template <const Tier& T, const RowKernels& K>
void add(ElementwiseKernels& to) {
  to.embed.push_back(entry<ops::Embed, T>(embed<K>));
  to.rms_norm.push_back(entry<ops::RmsNorm, T>(rms_norm<K>));
  to.mla_store.push_back(entry<ops::MlaStore, T>(mla_store<K>));
  to.mla_query.push_back(entry<ops::MlaQuery, T>(mla_query<K>));
  to.mla_gather.push_back(entry<ops::MlaGather, T>(mla_gather<K>));
  to.gqa_prepare.push_back(entry<ops::GqaPrepare, T>(gqa_prepare<K>));
  to.route.push_back(entry<ops::Route, T>(route<K>));
  to.combine.push_back(entry<ops::Combine, T>(combine<K>));
}

}  // namespace

ElementwiseKernels elementwise_kernels() {
  namespace reference = ops::reference;
  ElementwiseKernels all{{reference::kEmbed},
                         {reference::kRmsNorm},
                         {reference::kMlaStore},
                         {reference::kMlaQuery},
                         {reference::kMlaGather},
                         {reference::kGqaPrepare},
                         {reference::kRoute},
                         {reference::kArrange},
                         {reference::kCombine}};
  add<kScalar, kScalarRows>(all);
#if defined(__x86_64__)
  add<kAvx2, kAvx2Rows>(all);
  add<kAvx512, kAvx512Rows>(all);
#endif
  return all;
}

}  // namespace braid::cpu
