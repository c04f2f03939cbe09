// SPDX-License-Identifier: Apache-2.0
// Memory: a row of the cache is read, its keys and values are written as [k of every kv head | v of every kv head]
// bfloat16. Warps: a block a row, a thread eight elements at a time. Bound: memory.
#include "backend/cuda/attention/expand_rows.h"

#include <algorithm>
#include <bit>

#include "backend/cuda/attention/rows.cuh"

namespace braid::cuda {
namespace {

using Sequence = ops::AttentionPrefill::Sequence;

constexpr int kThreads = 128, kTogether = 8, kFirst = 128;  // kFirst: that no prefill kernel's tiles go below

struct Task {
  ops::Rows k, v;
  ops::AttentionShape shape;
  int block_size, count;
  const Sequence* from;  // with tables
  const Sequence* to;    // with rows
  char* rows;
  std::int64_t row_bytes;
};

__device__ uint4 eight(const ops::Rows& rows, std::int64_t row, int kv_head, int first) {
  const char* const at = static_cast<const char*>(rows.base) + row * rows.row_stride;
  const auto element = static_cast<int>(rows.first + kv_head * rows.head_stride) + first;
  const uint2 codes = *reinterpret_cast<const uint2*>(at + element);
  const float scale = reinterpret_cast<const float*>(at + rows.fp8.scales_at())[element / rows.fp8.group];
  const uint2 low = fp8_to_bf16(codes.x, scale), high = fp8_to_bf16(codes.y, scale);
  return {low.x, low.y, high.x, high.y};
}

__global__ void __launch_bounds__(kThreads) expand_kernel(const __grid_constant__ Task t) {
  std::int64_t key = blockIdx.x;
  int s = 0;
  for (; s < t.count && key >= t.to[s].key_end - t.to[s].key_first; ++s) key -= t.to[s].key_end - t.to[s].key_first;
  if (s == t.count) return;
  const std::int64_t row = key_row(t.from[s], t.block_size, t.to[s].key_first + key);
  auto* const out = reinterpret_cast<uint4*>(t.rows + (t.to[s].key_row + key) * t.row_bytes);
  const int k_pieces = t.shape.qk_dim / kTogether, v_pieces = t.shape.v_dim / kTogether;
  const int keys = t.shape.kv_heads * k_pieces, all = keys + t.shape.kv_heads * v_pieces;
  for (int i = threadIdx.x; i < all; i += kThreads) {
    const bool value = i >= keys;
    const int at = value ? i - keys : i, pieces = value ? v_pieces : k_pieces;
    out[i] = eight(value ? t.v : t.k, row, at / pieces, at % pieces * kTogether);
  }
}

}  // namespace

ExpandedRows::ExpandedRows(const ops::AttentionPrefill::Args& a, Stream& stream) : args_(a) {
  const ops::AttentionShape& shape = a.shape;
  const std::int64_t columns = shape.kv_heads * (shape.qk_dim + shape.v_dim), row_bytes = columns * 2;
  std::int64_t rows = 0;
  for (Sequence s : a.sequences) {
    const std::int64_t seen = shape.first_key(s.position) / kFirst * kFirst;
    if (s.table) s.key_first = std::clamp(seen, s.key_first, std::max(s.key_first, s.key_end));
    s.table = nullptr;
    s.key_row = rows;
    rows += s.key_end - s.key_first;
    sequences_.push_back(s);
  }
  const std::size_t told = (sequences_.size() * sizeof(Sequence) + 255) / 256 * 256;
  // Powers of two: growing contexts seldom take more, which would void recorded steps.
  std::byte* const scratch = stream.scratch(told + std::bit_ceil(static_cast<std::size_t>(rows)) * static_cast<std::size_t>(row_bytes));
  stream.copy(scratch, sequences_.data(), sequences_.size() * sizeof(Sequence));
  const auto* const to = reinterpret_cast<const Sequence*>(scratch);
  const Task task{a.k, a.v, shape, a.block_size, static_cast<int>(sequences_.size()), a.sequences.device, to, reinterpret_cast<char*>(scratch + told), row_bytes};
  launch(stream, "attention_prefill", expand_kernel, dim3(static_cast<unsigned>(rows)), kThreads, 0, task);
  args_.k = {scratch + told, DType::kBF16, columns, shape.qk_dim};
  args_.v = {scratch + told + shape.kv_heads * shape.qk_dim * 2, DType::kBF16, columns, shape.v_dim};
  args_.sequences = {sequences_.data(), to, sequences_.size()};
}

}  // namespace braid::cuda
