// SPDX-License-Identifier: Apache-2.0
// gqa_prepare: normalises and rotates queries and keys, stores keys and values in the cache.
//
// Memory: qkv is read (twice for the norms, the second time from the L1 cache), q and the cache row
// are written. Warps: one for each token and head of q, k or v, its lanes stride over the head's
// elements. Bound: memory, and launch time at decode.
#include "backend/cuda/rows/element.cuh"
#include "backend/cuda/rows/fp8_row.cuh"
#include "backend/cuda/rows/rotary.cuh"
#include "backend/cuda/rows/rows.h"

namespace braid::cuda {
namespace {

constexpr int kWarps = 4;

__global__ void prepare_kernel(const __grid_constant__ ops::GqaPrepare::Args a) {
  const std::int64_t t = blockIdx.y;
  const int head = blockIdx.x * kWarps + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (head >= a.heads + 2 * a.kv_heads) return;
  const bool is_query = head < a.heads, is_value = head >= a.heads + a.kv_heads;
  const std::int32_t slot = a.slots[t];
  if (!is_query && slot < 0) return;
  const float* x = a.qkv.data + t * a.qkv.stride + static_cast<std::int64_t>(head) * a.dim;
  const float* norm = is_query ? a.q_norm : is_value ? nullptr : a.k_norm;
  float factor = is_query && a.q_scales ? a.q_scales[a.positions[t]] : 1.0f;
  if (norm) {
    float sum = 0;
    for (int i = lane; i < a.dim; i += 32) sum += x[i] * x[i];
    factor *= rsqrtf(warp_sum(sum) / static_cast<float>(a.dim) + a.eps);
  }
  const auto element = [&](int i) { return norm ? x[i] * factor * norm[i] : x[i] * factor; };
  void* out = is_query ? row_of(a.q, t) : row_of(a.cache, slot);
  const DType dtype = is_query ? a.q.dtype : a.cache.dtype;
  const std::int64_t at = static_cast<std::int64_t>(is_query ? head : head - a.heads) * a.dim;
  const auto turned = [&](int i) { return !is_value && i < a.rope.dim ? rotated(element, i, a.rope, a.positions[t]) : element(i); };
  if (dtype == DType::kF8E4M3) {
    float largest = 0;
    for (int i = lane; i < a.dim; i += 32) largest = fmaxf(largest, fp8_size(turned(i)));
    const float scale = fp8_scale(warp_max(largest));
    for (int i = lane; i < a.dim; i += 32) static_cast<unsigned char*>(out)[at + i] = fp8_code(turned(i), scale);
    if (lane == 0) put_scale(out, ops::Fp8Row::keys_and_values(a.kv_heads, a.dim), head - a.heads, scale);
    return;
  }
  for (int i = lane; i < a.dim; i += 32) store(out, dtype, at + i, turned(i));
}

}  // namespace

void gqa_prepare(const ops::GqaPrepare::Args& a, braid::Stream& s) {
  const dim3 grid(blocks_for(a.heads + 2 * a.kv_heads, kWarps), static_cast<unsigned>(a.qkv.rows));
  launch(stream(s), "gqa_prepare", prepare_kernel, grid, 32 * kWarps, 0, a);
}

}  // namespace braid::cuda
