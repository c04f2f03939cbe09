// SPDX-License-Identifier: Apache-2.0
// attention_decode in float32 arithmetic, for any head sizes; splits and their merge: splits.cuh.
//
// A block takes one query row, a split of 256 keys and up to eight heads that share a kv head.
// Shared memory: queries [8][qk] float32, scores [8][256], rows of the keys [256]. Warps: eight; in
// the first phase a warp takes every eighth key, its lanes stride over the key's elements; then a
// warp takes a head's softmax; then threads take columns of the values. Bound: shared-memory and float32 arithmetic (8 heads share a key's bytes).
#include "backend/cuda/attention/attention.h"
#include "backend/cuda/attention/splits.cuh"

namespace braid::cuda {
namespace {

constexpr int kHeads = 8;
constexpr int kThreads = 256;
constexpr int kSplit = ops::AttentionDecode::kSplit;

__device__ inline void weigh(float* scores, int keys, float* maximum, float* sum) {
  const int lane = threadIdx.x % 32;
  float top = -INFINITY, total = 0;
  for (int p = lane; p < keys; p += 32) top = fmaxf(top, scores[p]);
  top = warp_max(top);
  for (int p = lane; p < keys; p += 32) total += scores[p] = expf(scores[p] - top);
  total = warp_sum(total);
  if (lane == 0) *maximum = top, *sum = total;
}

__global__ void __launch_bounds__(kThreads) split_kernel(const __grid_constant__ DecodeTask t) {
  extern __shared__ float shared[];
  __shared__ std::int64_t key_rows[kSplit];
  float* queries = shared;
  float* scores = shared + kHeads * t.shape.qk_dim;
  const int split = blockIdx.x, each = t.shape.heads / t.shape.kv_heads, chunks = (each + kHeads - 1) / kHeads;
  const int kv_head = blockIdx.y / chunks, inside = blockIdx.y % chunks * kHeads;
  const int first_head = kv_head * each + inside, heads = min(kHeads, each - inside);
  const std::int64_t row = blockIdx.z;
  const auto seen = t.keys_of(row, split);
  const int keys = seen.count;
  if (keys <= 0) return;
  for (int p = threadIdx.x; p < keys; p += kThreads) key_rows[p] = paged_row(t.rows[row].table, t.block_size, seen.begin + p);
  for (int i = threadIdx.x; i < heads * t.shape.qk_dim; i += kThreads) {
    queries[i] = load(row_of(t.q, row), t.q.dtype, first_head * t.shape.qk_dim + i) * t.shape.scale;
  }
  for (int i = threadIdx.x + heads * t.shape.qk_dim; i < kHeads * t.shape.qk_dim; i += kThreads) queries[i] = 0;
  __syncthreads();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int p = warp; p < keys; p += kThreads / 32) {
    float sums[kHeads] = {};
    for (int i = lane; i < t.shape.qk_dim; i += 32) {
      const float x = load_cached(t.k, key_rows[p], kv_head, i);
#pragma unroll
      for (int h = 0; h < kHeads; ++h) sums[h] += x * queries[h * t.shape.qk_dim + i];
    }
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      const float sum = warp_sum(sums[h]);
      if (lane == h) scores[h * kSplit + p] = sum;
    }
  }
  __syncthreads();
  if (warp < heads) {
    float* part = t.part(row, first_head + warp, split) + t.shape.v_dim;
    weigh(scores + warp * kSplit, keys, part, part + 1);
  }
  __syncthreads();
  for (int c = threadIdx.x; c < t.shape.v_dim; c += kThreads) {
    float sums[kHeads] = {};
    for (int p = 0; p < keys; ++p) {
      const float x = load_cached(t.v, key_rows[p], kv_head, c);
#pragma unroll
      for (int h = 0; h < kHeads; ++h) sums[h] += scores[h * kSplit + p] * x;
    }
#pragma unroll
    for (int h = 0; h < kHeads; ++h) {
      if (h < heads) t.part(row, first_head + h, split)[c] = sums[h];
    }
  }
}

}  // namespace

void decode_simple(const ops::AttentionDecode::Args& a, braid::Stream& s) {
  const DecodeTask task = decode_task(a);
  const unsigned each = blocks_for(a.shape.heads / a.shape.kv_heads, kHeads);
  const std::size_t shared = static_cast<std::size_t>(kHeads * (a.shape.qk_dim + kSplit)) * sizeof(float);
  const dim3 grid(static_cast<unsigned>(task.splits), a.shape.kv_heads * each, static_cast<unsigned>(a.rows.size()));
  launch(stream(s), "attention_decode", split_kernel, grid, kThreads, shared, task);
  merge_splits(task, static_cast<unsigned>(a.rows.size()), stream(s));
}

}  // namespace braid::cuda
