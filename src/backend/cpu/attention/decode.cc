// SPDX-License-Identifier: Apache-2.0
// Decode attention: a task is one query row, one part of 256 positions and some of its heads; parts
// without a key that the row sees are left out. A row with a single part writes its result at once;
// the others are merged after a second fork.
#include "backend/cpu/attention/attention.h"
#include "backend/cpu/attention/decode_part.h"
#include "backend/cpu/attention/fp8_rows.h"
#include "backend/cpu/attention/key_rows.h"
#include "backend/cpu/simd/tier.h"
#include "backend/cpu/stream.h"
#include "ops/reference.h"

namespace braid::cpu {
namespace {

using Args = ops::AttentionDecode::Args;
static_assert(kPartKeys == ops::AttentionDecode::kSplit);

// The keys that a row sees, and the parts in which they lie.
struct Seen {
  std::int64_t first;
  std::int64_t end;

  Seen(const Args& a, std::int64_t row)
      : end(a.rows[static_cast<std::size_t>(row)].context) {
    first = a.shape.first_key(end - 1);
  }
  std::int64_t keys() const { return end - first; }
  std::int64_t first_part() const { return first / kPartKeys; }
  std::int64_t parts() const { return (end + kPartKeys - 1) / kPartKeys - first_part(); }
};

struct Plan {
  std::int64_t parts = 0;   // of the row with most
  std::int64_t groups = 1;  // pieces that the heads are cut into
  std::int64_t stride = 0;  // floats of one partial result
  double ns_each = 0;

  Plan(const Args& a, int workers) {
    std::int64_t keys = 0;
    std::int64_t tasks = 0;
    for (std::size_t r = 0; r < a.rows.size(); ++r) {
      const Seen seen(a, static_cast<std::int64_t>(r));
      parts = std::max(parts, seen.parts());
      tasks += seen.parts();
      keys += seen.keys();
    }
    const int units = a.shape.kv_heads > 1 ? a.shape.kv_heads : a.shape.heads;
    if (tasks < 2 * workers) groups = std::min(units, workers);
    stride = a.shape.v_dim + 2;
    const double flops =
        2.0 * static_cast<double>(keys) * a.shape.heads * (a.shape.qk_dim + a.shape.v_dim);
    ns_each = flops / 100 / static_cast<double>(std::max<std::int64_t>(1, count(a)));
  }
  std::int64_t count(const Args& a) const {
    return static_cast<std::int64_t>(a.rows.size()) * parts * groups;
  }
  // Partial result of (row, part, head 0).
  float* partial(const Args& a, std::int64_t row, std::int64_t part) const {
    return reinterpret_cast<float*>(a.scratch) + (row * parts + part) * a.shape.heads * stride;
  }
};

// Decoded keys and values of a part, behind what the kernel needs of scratch.
std::size_t decoded_bytes(const Args& a) {
  return a.k.dtype == DType::kF8E4M3 ? static_cast<std::size_t>(kPartKeys * (decoded_stride(a.shape.qk_dim) + decoded_stride(a.shape.v_dim))) * 2 : 0;
}

template <const DecodeTier& T>
void run_heads(const Args& a,
               const Plan& plan,
               std::int64_t row,
               std::int64_t part,  // counted from the first that the row sees
               int kv_head,
               int head,
               int heads,
               float* scratch) {
  const ops::AttentionShape& s = a.shape;
  const auto& r = a.rows[static_cast<std::size_t>(row)];
  const Seen seen(a, row);
  const std::int64_t begin = (seen.first_part() + part) * kPartKeys;
  const std::int64_t first = std::max(begin, seen.first);
  const int keys = static_cast<int>(std::min(begin + kPartKeys, seen.end) - first);
  const void* k[kPartKeys];
  const void* v[kPartKeys];
  KeyRows(a.k, kv_head, r.table, a.block_size).gather(first, keys, k);
  KeyRows(a.v, kv_head, r.table, a.block_size).gather(first, keys, v);
  if (a.k.dtype == DType::kF8E4M3) {
    auto* to = reinterpret_cast<std::uint16_t*>(scratch + part_scratch(s.qk_dim));
    decode_rows(a.k, kv_head, s.qk_dim, keys, T.decode_fp8, k, to);
    const bool shared = a.v.base == a.k.base && a.v.first == a.k.first;
    if (shared) std::copy(k, k + keys, v);
    else decode_rows(a.v, kv_head, s.v_dim, keys, T.decode_fp8, v, to + kPartKeys * decoded_stride(s.qk_dim));
  }
  const std::size_t element = size_of(a.q.dtype);
  DecodePart d{};
  d.k = k;
  d.v = v;
  d.keys = keys;
  d.cache_bf16 = a.k.dtype != DType::kF32;
  d.q =
      a.q.row(row) + static_cast<std::size_t>(head) * static_cast<std::size_t>(s.qk_dim) * element;
  d.q_bf16 = a.q.dtype == DType::kBF16;
  d.heads = heads;
  d.qk_dim = s.qk_dim;
  d.v_dim = s.v_dim;
  d.scale = s.scale;
  if (a.sinks && part == 0) d.sinks = a.sinks + head;
  d.partial_stride = plan.stride;
  if (seen.parts() > 1) d.partial = plan.partial(a, row, part) + head * plan.stride;
  d.final =
      a.out.row(row) + static_cast<std::size_t>(head) * static_cast<std::size_t>(s.v_dim) * element;
  d.scratch = scratch;
  T.part(d);
}

// Piece `group` of the heads: whole kv heads where there are several, else single heads.
template <const DecodeTier& T>
void run_task(const Args& a, const Plan& plan, std::int64_t task, float* scratch) {
  const std::int64_t group = task % plan.groups;
  const std::int64_t part = task / plan.groups % plan.parts;
  const std::int64_t row = task / plan.groups / plan.parts;
  if (part >= Seen(a, row).parts()) return;
  const int units = a.shape.kv_heads > 1 ? a.shape.kv_heads : a.shape.heads;
  const int begin = static_cast<int>(units * group / plan.groups);
  const int end = static_cast<int>(units * (group + 1) / plan.groups);
  if (a.shape.kv_heads == 1) {
    run_heads<T>(a, plan, row, part, 0, begin, end - begin, scratch);
    return;
  }
  const int shared = a.shape.heads / a.shape.kv_heads;
  for (int kv = begin; kv < end; ++kv) {
    run_heads<T>(a, plan, row, part, kv, kv * shared, shared, scratch);
  }
}

template <const DecodeTier& T>
void merge(const Args& a, const Plan& plan, std::int64_t row, int head) {
  const std::int64_t parts = Seen(a, row).parts();
  if (parts < 2) return;
  const std::size_t at = static_cast<std::size_t>(head) * static_cast<std::size_t>(a.shape.v_dim);
  T.merge(plan.partial(a, row, 0) + head * plan.stride,
          a.shape.heads * plan.stride,
          static_cast<int>(parts),
          a.shape.v_dim,
          a.out.row(row) + at * size_of(a.out.dtype),
          a.out.dtype == DType::kBF16);
}

template <const DecodeTier& T>
void decode(const Args& a, braid::Stream& s) {
  Stream& cpu = stream(s);
  const Plan plan(a, cpu.workers());
  const std::size_t scratch = part_scratch(a.shape.qk_dim) * sizeof(float) + decoded_bytes(a);
  cpu.queue(plan.count(a), plan.ns_each, [&](std::int64_t task, int worker) {
    run_task<T>(a, plan, task, reinterpret_cast<float*>(cpu.scratch(worker, scratch)));
  });
  if (plan.parts < 2) return;
  const auto heads = static_cast<std::int64_t>(a.rows.size()) * a.shape.heads;
  const double cost = 0.1 * static_cast<double>(plan.parts * a.shape.v_dim);
  cpu.split(heads, cost, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      merge<T>(a, plan, i / a.shape.heads, static_cast<int>(i % a.shape.heads));
    }
  });
}

template <const Tier& T>
std::string supports(const ops::AttentionDecode::Problem& p, const Capabilities& caps) {
  const bool narrow = p.q == DType::kBF16 && p.cache != DType::kF32;
  if (&T == &kAvx512Bf16 && !narrow) return "needs bfloat16 queries and a bfloat16 or FP8 cache";
  return missing(caps, T);
}

template <const Tier& T, const DecodeTier& D>
ops::Kernel<ops::AttentionDecode> entry() {
  return {T.name, T.rank, supports<T>, decode<D>, nullptr};
}

}  // namespace

std::vector<ops::Kernel<ops::AttentionDecode>> attention_decode_kernels() {
  return {
    ops::reference::kAttentionDecode, entry<kScalar, kScalarDecode>(),
#if defined(__x86_64__)
        entry<kAvx2, kAvx2Decode>(), entry<kAvx512, kAvx512Decode>(),
        entry<kAvx512Bf16, kAvx512Bf16Decode>(),
#endif
  };
}

}  // namespace braid::cpu
