// SPDX-License-Identifier: Apache-2.0
// attention_prefill in float32 arithmetic, for any head sizes up to kMostV values.
//
// A block takes eight queries of one head and walks over its keys, 64 at a time from multiples of 64.
// Shared memory: keys [64][qk + 1] float32, queries [8][qk], weights [8][64]. Warps: one a query; a
// lane scores two keys, then sums kMostV / 32 columns of the values, which come from the L1 cache.
// Bound: float32 arithmetic.
#include "backend/cuda/attention/attention.h"
#include "backend/cuda/attention/rows.cuh"

namespace braid::cuda {
namespace {

constexpr int kQueries = 8;
constexpr int kThreads = 32 * kQueries;
constexpr int kKeys = ops::AttentionPrefill::kKeyBlock;
constexpr int kMostV = kMostSimpleV;
constexpr int kColumns = kMostV / 32;

struct Softmax {
  float max = -INFINITY, sum = 0;
  float out[kColumns] = {};
};

__device__ inline void resume(Softmax& x, const float* state, int v) {
  for (int i = 0; i < kColumns; ++i) {
    const int c = i * 32 + static_cast<int>(threadIdx.x % 32);
    if (c < v) x.out[i] = state[c];
  }
  x.max = state[v];
  x.sum = state[v + 1];
}

__device__ inline void suspend(const Softmax& x, float* state, int v) {
  for (int i = 0; i < kColumns; ++i) {
    const int c = i * 32 + static_cast<int>(threadIdx.x % 32);
    if (c < v) state[c] = x.out[i];
  }
  if (threadIdx.x % 32 == 0) state[v] = x.max, state[v + 1] = x.sum;
}

__global__ void __launch_bounds__(kThreads) prefill_kernel(const __grid_constant__ PrefillTask t) {
  extern __shared__ float shared[];
  __shared__ std::int64_t key_rows[kKeys];
  const int qk = t.shape.qk_dim, v = t.shape.v_dim, stride = qk + 1;
  float* keys = shared;
  float* query = keys + kKeys * stride + threadIdx.x / 32 * qk;
  float* weights = keys + kKeys * stride + kQueries * qk + threadIdx.x / 32 * kKeys;
  const QueryTile tile = find_query_tile(t.sequences, t.count, kQueries, static_cast<int>(blockIdx.x));
  if (tile.sequence < 0) return;
  const ops::AttentionPrefill::Sequence s = t.sequences[tile.sequence];
  const int head = blockIdx.y, kv_head = head / (t.shape.heads / t.shape.kv_heads), lane = threadIdx.x % 32;
  const std::int64_t mine = tile.first + threadIdx.x / 32;
  const bool valid = mine < s.rows;
  const std::int64_t row = s.first_row + mine;
  const std::int64_t begin = first_key(t.shape, s.position + mine);
  const std::int64_t end = valid ? min(s.key_end, s.position + mine + 1) : 0;
  const std::int64_t last = min(s.key_end, s.position + min(tile.first + kQueries, s.rows));
  float* state = t.state ? t.state + (row * t.shape.heads + head) * (v + 2) : nullptr;
  for (int i = lane; i < qk; i += 32) {
    query[i] = valid ? load(row_of(t.q, row), t.q.dtype, head * qk + i) * t.shape.scale : 0.0f;
  }
  Softmax x;
  if (t.sinks) x.max = t.sinks[head], x.sum = 1;
  if (valid && !t.first_segment) resume(x, state, v);
  for (std::int64_t first = t.begin(s, s.position + tile.first, kKeys); first < last;) {
    const std::int64_t next = min(first / kKeys * kKeys + kKeys, last);
    const int count = static_cast<int>(next - first);
    __syncthreads();
    for (int p = threadIdx.x; p < count; p += kThreads) key_rows[p] = key_row(s, t.block_size, first + p);
    __syncthreads();
    for (int i = threadIdx.x; i < count * qk; i += kThreads) {
      keys[i / qk * stride + i % qk] = load_cached(t.k, key_rows[i / qk], kv_head, i % qk);
    }
    __syncthreads();
    float scores[2] = {-INFINITY, -INFINITY};
    for (int j = 0; j < 2; ++j) {
      const int p = lane + 32 * j;
      if (first + p < begin || first + p >= min(end, next)) continue;
      float sum = 0;
      for (int i = 0; i < qk; ++i) sum += query[i] * keys[p * stride + i];
      scores[j] = sum;
    }
    const float top = fmaxf(x.max, warp_max(fmaxf(scores[0], scores[1])));
    if (top > -INFINITY) {
      const float keep = expf(x.max - top), a = expf(scores[0] - top), b = expf(scores[1] - top);
      weights[lane] = a;
      weights[lane + 32] = b;
      x.sum = x.sum * keep + warp_sum(a + b);
      x.max = top;
      for (float& o : x.out) o *= keep;
      __syncwarp();
      for (int p = 0; p < count; ++p) {
#pragma unroll
        for (int i = 0; i < kColumns; ++i) {
          if (i * 32 + lane < v) x.out[i] += weights[p] * load_cached(t.v, key_rows[p], kv_head, i * 32 + lane);
        }
      }
    }
    first = next;
  }
  if (!valid) return;
  if (!t.last_segment) return suspend(x, state, v);
  for (int i = 0; i < kColumns; ++i) {
    const int c = i * 32 + lane;
    if (c < v) store(row_of(t.out, row), t.out.dtype, head * v + c, x.out[i] / x.sum);
  }
}

}  // namespace

void prefill_simple(const ops::AttentionPrefill::Args& a, braid::Stream& s) {
  const PrefillTask task = prefill_task(a);
  const int qk = a.shape.qk_dim;
  const std::size_t shared = static_cast<std::size_t>(kKeys * (qk + 1) + kQueries * (qk + kKeys)) * sizeof(float);
  launch(stream(s), "attention_prefill", prefill_kernel, dim3(query_tiles(a, kQueries), static_cast<unsigned>(a.shape.heads)),
         kThreads, shared, task);
}

}  // namespace braid::cuda
