// SPDX-License-Identifier: Apache-2.0
// The second half of attention_decode: splits of a row and head become its output.
//
// Memory: every split's output is read once. Warps: a block of 128 threads a row and head, a thread
// takes four columns at once. Bound: memory, and launch time.
#include <algorithm>

#include "backend/cuda/attention/splits.cuh"

namespace braid::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kEach = 4;  // columns of a thread at once

__global__ void __launch_bounds__(kThreads) merge_kernel(const __grid_constant__ DecodeTask t) {
  const std::int64_t row = blockIdx.y;
  const int head = blockIdx.x, v = t.shape.v_dim;
  const int first_split = t.first_seen(row) / t.split_keys, splits = (t.rows[row].context + t.split_keys - 1) / t.split_keys;
  if (splits == 1 && t.whole_rows_done) return;
  const float* parts = t.part(row, head, 0);
  const int stride = v + 2;
  const float sink = t.sinks ? t.sinks[head] : -INFINITY;
  float top = sink;
#pragma unroll 4
  for (int s = first_split; s < splits; ++s) top = fmaxf(top, parts[s * stride + v]);
  for (int first = threadIdx.x; first < v; first += kThreads * kEach) {
    float out[kEach] = {}, sum = expf(sink - top);
#pragma unroll 4
    for (int s = first_split; s < splits; ++s) {
      const float weight = expf(parts[s * stride + v] - top);
      sum += parts[s * stride + v + 1] * weight;
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        const int c = first + i * kThreads;
        out[i] += (c < v ? parts[s * stride + c] : 0.0f) * weight;
      }
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int c = first + i * kThreads;
      if (c < v) store(row_of(t.out, row), t.out.dtype, head * v + c, out[i] / sum);
    }
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
  launch(stream, "attention_decode", merge_kernel, dim3(static_cast<unsigned>(task.shape.heads), rows), kThreads, 0, task);
}

}  // namespace braid::cuda
