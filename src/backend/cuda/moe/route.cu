// SPDX-License-Identifier: Apache-2.0
// route: from a token's router logits to its experts and their weights.
//
// Memory: scores and choices of a token lie in shared memory. Warps: one a token, alone in its block;
// each pass over the experts is a strided loop and a reduction by (value, lower id), so ties and sums
// do not depend on anything but the row. Bound: latency of the top_k passes.
#include <cmath>

#include "backend/cuda/moe/moe.h"
#include "backend/cuda/rows/element.cuh"

namespace braid::cuda {
namespace {

struct Best {
  float value;
  int id;
};

// Numbers in the order of floats; 0 for what is never the best, minus infinity and NaN.
__device__ inline unsigned rank_of(float value) {
  const unsigned bits = __float_as_uint(value);
  return !(value > -INFINITY) ? 0 : bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The largest of [0, count), the lowest index of equals.
__device__ inline Best best_of(const float* values, int count) {
  unsigned most = 0;
  int id = count;
  for (int i = threadIdx.x; i < count; i += 32) {
    const unsigned rank = rank_of(values[i]);
    if (rank > most) most = rank, id = i;
  }
  const unsigned top = __reduce_max_sync(~0u, most);
  id = __reduce_min_sync(~0u, most == top ? id : count);
  return {id < count ? values[id] : -INFINITY, id};
}

__device__ inline void score(const float* logits, const ops::Route::Problem& p, float* scores) {
  if (p.scoring == ops::Scoring::kSigmoid) {
    for (int e = threadIdx.x; e < p.experts; e += 32) scores[e] = 1.0f / (1.0f + expf(-logits[e]));
    return;
  }
  float top = -INFINITY, sum = 0;
  for (int e = threadIdx.x; e < p.experts; e += 32) top = fmaxf(top, logits[e]);
  top = warp_max(top);
  for (int e = threadIdx.x; e < p.experts; e += 32) sum += scores[e] = expf(logits[e] - top);
  sum = warp_sum(sum);
  for (int e = threadIdx.x; e < p.experts; e += 32) scores[e] /= sum;
}

// Leaves minus infinity for every expert outside the best groups.
__device__ inline void keep_best_groups(float* choice, float* group, const ops::Route::Problem& p) {
  const int size = p.experts / p.groups;
  const bool two = p.group_score == ops::GroupScore::kSumOfTopTwo && size > 1;
  for (int g = threadIdx.x; g < p.groups; g += 32) {
    float first = -INFINITY, second = -INFINITY;
    for (int e = g * size; e < (g + 1) * size; ++e) {
      if (choice[e] > first) second = first, first = choice[e];
      else second = fmaxf(second, choice[e]);
    }
    group[g] = two ? first + second : first;
  }
  __syncwarp();
  for (int i = 0; i < p.topk_groups; ++i) {
    const Best best = best_of(group, p.groups);
    __syncwarp();
    if (threadIdx.x == 0) group[best.id] = NAN;
    __syncwarp();
  }
  for (int e = threadIdx.x; e < p.experts; e += 32) {
    if (!isnan(group[e / size])) choice[e] = -INFINITY;
  }
  __syncwarp();
}

__global__ void route_kernel(const __grid_constant__ ops::Route::Args a, const __grid_constant__ ops::Route::Problem p) {
  extern __shared__ float shared[];
  float* scores = shared;
  float* choice = scores + p.experts;
  float* group = choice + p.experts;
  const std::int64_t t = blockIdx.x;
  score(a.logits.data + t * a.logits.stride, p, scores);
  __syncwarp();
  for (int e = threadIdx.x; e < p.experts; e += 32) choice[e] = scores[e] + (a.bias ? a.bias[e] : 0.0f);
  __syncwarp();
  if (p.groups > 1) keep_best_groups(choice, group, p);
  float sum = 0, mine = 0;
  int id = 0;
  for (int j = 0; j < p.top_k; ++j) {
    Best best = best_of(choice, p.experts);
    best.id = min(best.id, p.experts - 1);
    sum += scores[best.id];
    if (static_cast<int>(threadIdx.x) == j) mine = scores[best.id], id = best.id;
    __syncwarp();
    if (threadIdx.x == 0) choice[best.id] = NAN;
    __syncwarp();
  }
  if (p.shared_gate && threadIdx.x == 0) a.shared_weights[t] = 1.0f / (1.0f + expf(-a.logits.data[t * a.logits.stride + p.experts]));
  if (static_cast<int>(threadIdx.x) >= p.top_k) return;
  a.ids[t * p.top_k + threadIdx.x] = id;
  a.weights[t * p.top_k + threadIdx.x] = mine * (p.normalise ? p.scale / (sum + 1e-20f) : p.scale);
}

}  // namespace

void route(const ops::Route::Args& a, braid::Stream& s) {
  const std::size_t shared = static_cast<std::size_t>(2 * a.problem->experts + a.problem->groups) * sizeof(float);
  launch(stream(s), "route", route_kernel, dim3(static_cast<unsigned>(a.logits.rows)), 32, shared, a, *a.problem);
}

}  // namespace braid::cuda
