// SPDX-License-Identifier: Apache-2.0
// arrange: a stable counting sort of (token, choice) pairs by expert.
//
// Memory: every block reads all ids, twice, out of the L2 cache; rows and slots are written once.
// Warps: a block an expert. It counts pairs of lower experts, which is where its rows begin, then
// walks over the pairs in order, up to eight neighbours a thread at a time, and gives its own consecutive rows. One
// more block writes the rows of the shared expert. Bound: latency; experts * pairs * 8 bytes of L2.
#include "backend/cuda/moe/moe.h"
#include "backend/cuda/rows/element.cuh"

namespace braid::cuda {
namespace {

constexpr int kFewThreads = 256, kManyThreads = 1024;  // of a block
constexpr std::int64_t kFewPairs = 8192;
constexpr int kMostEach = 8;  // pairs of a thread at a time

// The sum of `value` over the threads before this one, and over all.
__device__ inline int sum_before(int value, int& total) {
  __shared__ int counts[kManyThreads / 32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  int upto = value;
#pragma unroll
  for (int d = 1; d < 32; d *= 2) {
    const int other = __shfl_up_sync(~0u, upto, d);
    if (lane >= d) upto += other;
  }
  __syncthreads();
  if (lane == 31) counts[warp] = upto;
  __syncthreads();
  int before = 0;
  total = 0;
  for (int w = 0; w < static_cast<int>(blockDim.x / 32); ++w) {
    if (w < warp) before += counts[w];
    total += counts[w];
  }
  return before + upto - value;
}

__device__ inline void shared_rows(const ops::Arrange::Args& a, std::int64_t pairs) {
  for (std::int64_t t = threadIdx.x; t < a.tokens; t += blockDim.x) {
    a.row_token[pairs + t] = static_cast<std::int32_t>(t);
    a.slots[t * (a.top_k + 1) + a.top_k] = static_cast<std::int32_t>(pairs + t);
    a.slot_weights[t * (a.top_k + 1) + a.top_k] = a.shared_weights ? a.shared_weights[t] : 1.0f;
  }
  if (threadIdx.x == 0) a.offsets[a.experts + 1] = static_cast<std::int32_t>(pairs + a.tokens);
}

__global__ void __launch_bounds__(kManyThreads) arrange_kernel(const __grid_constant__ ops::Arrange::Args a) {
  const std::int64_t pairs = a.tokens * a.top_k;
  const int expert = blockIdx.x, per_token = a.top_k + (a.shared ? 1 : 0);
  if (expert == a.experts) return shared_rows(a, pairs);
  float lower = 0, own = 0;  // counts, exact below 2^24
#pragma unroll 4
  for (std::int64_t i = threadIdx.x; i < pairs; i += blockDim.x) {
    lower += a.ids[i] < expert;
    own += a.ids[i] == expert;
  }
  int next = static_cast<int>(block_sum(lower));
  const int end = next + static_cast<int>(block_sum(own));
  if (threadIdx.x == 0) {
    a.offsets[expert] = next;
    if (expert == a.experts - 1) a.offsets[a.experts] = end;
  }
  const auto each = static_cast<int>(min(std::int64_t{kMostEach}, (pairs + blockDim.x - 1) / blockDim.x));
  for (std::int64_t base = 0; base < pairs && next < end; base += std::int64_t{each} * blockDim.x) {
    const std::int64_t first = base + std::int64_t{each} * threadIdx.x;
    unsigned mine = 0;  // a bit a pair
#pragma unroll
    for (int j = 0; j < kMostEach; ++j) {
      if (j < each && first + j < pairs && a.ids[first + j] == expert) mine |= 1u << j;
    }
    int found;
    int row = next + sum_before(__popc(mine), found);
    next += found;
    for (; mine != 0; mine &= mine - 1, ++row) {
      const std::int64_t i = first + __ffs(static_cast<int>(mine)) - 1, t = i / a.top_k, slot = t * per_token + i % a.top_k;
      a.row_token[row] = static_cast<std::int32_t>(t);
      a.slots[slot] = row;
      a.slot_weights[slot] = a.weights[i];
    }
  }
}

}  // namespace

void arrange(const ops::Arrange::Args& a, braid::Stream& s) {
  if (a.tokens == 0) return;
  const auto blocks = static_cast<unsigned>(a.experts + (a.shared ? 1 : 0));
  launch(stream(s), "arrange", arrange_kernel, dim3(blocks), a.tokens * a.top_k <= kFewPairs ? kFewThreads : kManyThreads, 0, a);
}

}  // namespace braid::cuda
