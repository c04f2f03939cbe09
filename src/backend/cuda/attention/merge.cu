// SPDX-License-Identifier: Apache-2.0
// The second half of attention_decode: splits of a row and head become its output.
//
// Memory: every split's output is read once. Warps: one a row, head and 128 columns, of which a lane takes every
// 32nd; up to kTogether splits are on their way at once. Bound: memory, and latency.
#include <algorithm>

#include "backend/cuda/attention/splits.cuh"

namespace braid::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kEach = 4, kColumns = 32 * kEach;  // columns of a lane, of a warp
constexpr int kTogether = 4;

struct Merge {
  const float* parts;  // of the first split
  int stride, v, first, splits;

  __device__ float top_of(int s) const { return parts[s * stride + v]; }
  __device__ float sum_of(int s) const { return parts[s * stride + v + 1]; }
  __device__ void load(int s, float (&out)[kEach]) const {
#pragma unroll
    for (int i = 0; i < kEach; ++i) out[i] = first + 32 * i < v ? parts[s * stride + first + 32 * i] : 0.0f;
  }

  // All splits at once; what add() gives of as many.
  __device__ void few(float sink, float (&out)[kEach], float& sum) const {
    float part[kTogether][kEach], tops[kTogether], sums[kTogether], top = sink;
#pragma unroll
    for (int s = 0; s < kTogether; ++s) {
      tops[s] = -INFINITY;
      if (s >= splits) continue;
      tops[s] = top_of(s), sums[s] = sum_of(s);
      load(s, part[s]);
    }
#pragma unroll
    for (int s = 0; s < kTogether; ++s) top = fmaxf(top, tops[s]);
    sum = expf(sink - top);
#pragma unroll
    for (int s = 0; s < kTogether; ++s) {
      if (s < splits) add(expf(tops[s] - top), sums[s], part[s], out, sum);
    }
  }
  __device__ void many(float sink, float (&out)[kEach], float& sum) const {
    float top = sink;
#pragma unroll kTogether
    for (int s = 0; s < splits; ++s) top = fmaxf(top, top_of(s));
    sum = expf(sink - top);
#pragma unroll kTogether
    for (int s = 0; s < splits; ++s) {
      float part[kEach];
      load(s, part);
      add(expf(top_of(s) - top), sum_of(s), part, out, sum);
    }
  }
  __device__ static void add(float weight, float part_sum, const float (&part)[kEach], float (&out)[kEach], float& sum) {
    sum += part_sum * weight;
#pragma unroll
    for (int i = 0; i < kEach; ++i) out[i] += part[i] * weight;
  }
};

__global__ void __launch_bounds__(kThreads) merge_kernel(const __grid_constant__ DecodeTask t) {
  const std::int64_t row = blockIdx.y;
  const int v = t.shape.v_dim, pieces = (v + kColumns - 1) / kColumns;
  const int number = blockIdx.x * (kThreads / 32) + threadIdx.x / 32, head = number / pieces;
  if (head >= t.shape.heads) return;
  const int first_split = t.first_seen(row) / t.split_keys, splits = (t.rows[row].context + t.split_keys - 1) / t.split_keys;
  if (splits == 1 && t.whole_rows_done) return;
  const int first = number % pieces * kColumns + threadIdx.x % 32;
  const Merge merge{t.part(row, head, first_split), v + 2, v, first, splits - first_split};
  const float sink = t.sinks ? t.sinks[head] : -INFINITY;
  float out[kEach] = {}, sum;
  if (merge.splits <= kTogether) merge.few(sink, out, sum);
  else merge.many(sink, out, sum);
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int c = first + 32 * i;
    if (c < v) store(row_of(t.out, row), t.out.dtype, head * v + c, out[i] / sum);
  }
}

}  // namespace

DecodeTask decode_task(const ops::AttentionDecode::Args& a, int split_keys) {
  int longest = 0;
  for (const auto& row : a.rows) longest = std::max(longest, row.context);
  const auto shortest_splits = static_cast<int>(ops::AttentionDecode::most_splits(longest));
  const int splits = std::max(1, shortest_splits / (split_keys / ops::AttentionDecode::kSplit));
  return {a.shape, a.q, a.k, a.v, a.block_size, split_keys, splits, false, a.rows.device, a.out, reinterpret_cast<float*>(a.scratch), a.sinks};
}

void merge_splits(const DecodeTask& task, unsigned rows, Stream& stream) {
  if (task.splits == 1 && task.whole_rows_done) return;
  const unsigned warps = static_cast<unsigned>(task.shape.heads) * blocks_for(task.shape.v_dim, kColumns);
  launch(stream, "attention_decode", merge_kernel, dim3(blocks_for(warps, kThreads / 32), rows), kThreads, 0, task);
}

}  // namespace braid::cuda
