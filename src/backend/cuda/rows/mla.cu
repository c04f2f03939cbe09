// SPDX-License-Identifier: Apache-2.0
// mla_store, mla_query, mla_gather: what surrounds latent attention.
//
// Memory: every element is read and written once (latents wider than 512 twice). Warps: a block a token
// (mla_query: a token and head); its threads stride over the columns. Bound: memory, and latency at decode.
#include "backend/cuda/rows/element.cuh"
#include "backend/cuda/rows/fp8_row.cuh"
#include "backend/cuda/rows/rotary.cuh"
#include "backend/cuda/rows/rows.h"

namespace braid::cuda {
namespace {

constexpr int kStoreThreads = 128;
constexpr int kKept = 4;  // columns of a thread that stay in registers

__global__ void __launch_bounds__(kStoreThreads) store_kernel(const __grid_constant__ ops::MlaStore::Args a) {
  const std::int64_t t = blockIdx.x;
  const float* x = a.latent.data + t * a.latent.stride;
  const int lora = static_cast<int>(a.latent.cols) - a.rope.dim, mine = static_cast<int>(threadIdx.x);
  const std::int32_t slot = a.slots[t], position = a.positions[t];
  float kept[kKept], weight[kKept], sum = 0;
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const int c = mine + i * kStoreThreads;
    kept[i] = c < lora ? x[c] : 0.0f;
    weight[i] = c < lora ? a.norm_weight[c] : 0.0f;
  }
  const auto turned = [&](int i) { return rotated([&](int j) { return x[lora + j]; }, i, a.rope, position); };
  const float first_turned = mine < a.rope.dim ? turned(mine) : 0.0f;
#pragma unroll
  for (int i = 0; i < kKept; ++i) sum += kept[i] * kept[i];
  for (int c = mine + kKept * kStoreThreads; c < lora; c += kStoreThreads) sum += x[c] * x[c];
  const float factor = rsqrtf(block_sum(sum) / static_cast<float>(lora) + a.eps);
  if (slot < 0) return;
  void* out = row_of(a.cache, slot);
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const int c = mine + i * kStoreThreads;
    if (c < lora) store(out, a.cache.dtype, c, kept[i] * factor * weight[i]);
  }
  for (int c = mine + kKept * kStoreThreads; c < lora; c += kStoreThreads) store(out, a.cache.dtype, c, x[c] * factor * a.norm_weight[c]);
  if (mine < a.rope.dim) store(out, a.cache.dtype, lora + mine, first_turned);
  for (int i = mine + kStoreThreads; i < a.rope.dim; i += kStoreThreads) store(out, a.cache.dtype, lora + i, turned(i));
}

// A warp a group of columns.
__global__ void __launch_bounds__(kStoreThreads) store_fp8_kernel(const __grid_constant__ ops::MlaStore::Args a, ops::Fp8Row shape) {
  const std::int64_t t = blockIdx.x;
  const float* x = a.latent.data + t * a.latent.stride;
  const int lora = shape.elements, warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  float sum = 0;
  for (int c = threadIdx.x; c < lora; c += kStoreThreads) sum += x[c] * x[c];
  const float factor = rsqrtf(block_sum(sum) / static_cast<float>(lora) + a.eps);
  if (a.slots[t] < 0) return;
  auto* const row = static_cast<unsigned char*>(row_of(a.cache, a.slots[t]));
  for (int g = warp; g < shape.groups(); g += kStoreThreads / 32) {
    const int end = min(lora, (g + 1) * shape.group);
    const auto element = [&](int c) { return x[c] * factor * a.norm_weight[c]; };
    float largest = 0;
    for (int c = g * shape.group + lane; c < end; c += 32) largest = fmaxf(largest, fp8_size(element(c)));
    const float scale = fp8_scale(warp_max(largest));
    for (int c = g * shape.group + lane; c < end; c += 32) row[c] = fp8_code(element(c), scale);
    if (lane == 0) put_scale(row, shape, g, scale);
  }
  for (int i = threadIdx.x; i < a.rope.dim; i += kStoreThreads) {
    put_plain(row, shape, i, rotated([&](int j) { return x[lora + j]; }, i, a.rope, a.positions[t]));
  }
}

__global__ void query_kernel(const __grid_constant__ ops::MlaQuery::Args a) {
  const std::int64_t t = blockIdx.y;
  const int h = blockIdx.x, dim = a.nope_dim + a.rope.dim;
  const float* q = a.q.data + t * a.q.stride + static_cast<std::int64_t>(h) * dim;
  for (int c = threadIdx.x; c < dim; c += blockDim.x) {
    if (c < a.nope_dim) {
      store(row_of(a.nope, t), a.nope.dtype, h * a.nope_head_stride + c, q[c]);
      continue;
    }
    const auto element = [&](int j) { return q[a.nope_dim + j]; };
    store(row_of(a.rope_out, t), a.rope_out.dtype, h * a.rope_head_stride + c - a.nope_dim,
          rotated(element, c - a.nope_dim, a.rope, a.positions[t]));
  }
}

__global__ void gather_kernel(const __grid_constant__ ops::MlaGather::Args a) {
  const std::int64_t r = blockIdx.x;
  const void* from = row_of(a.cache, a.rows[r]);
  const int cols = static_cast<int>(a.latent.cols), lora = cols - a.rope_dim;
  const ops::Fp8Row shape = ops::Fp8Row::latent(lora, a.rope_dim);
  const bool fp8 = a.cache.dtype == DType::kF8E4M3;
  for (int c = threadIdx.x; c < cols; c += blockDim.x) {
    const float value = fp8 ? fp8_at(from, shape, c) : load(from, a.cache.dtype, c);
    store(row_of(a.latent, r), a.latent.dtype, c, value);
    for (int h = 0; c >= lora && h < a.heads; ++h) {
      store(row_of(a.keys, r), a.keys.dtype, h * a.key_head_stride + c - lora, value);
    }
  }
}

}  // namespace

void mla_store(const ops::MlaStore::Args& a, braid::Stream& s) {
  const auto rows = dim3(static_cast<unsigned>(a.latent.rows));
  if (a.cache.dtype == DType::kF8E4M3) {
    const ops::Fp8Row shape = ops::Fp8Row::latent(static_cast<int>(a.latent.cols) - a.rope.dim, a.rope.dim);
    return launch(stream(s), "mla_store", store_fp8_kernel, rows, kStoreThreads, 0, a, shape);
  }
  launch(stream(s), "mla_store", store_kernel, rows, kStoreThreads, 0, a);
}

void mla_query(const ops::MlaQuery::Args& a, braid::Stream& s) {
  launch(stream(s), "mla_query", query_kernel,
         dim3(static_cast<unsigned>(a.heads), static_cast<unsigned>(a.q.rows)), 96, 0, a);
}

void mla_gather(const ops::MlaGather::Args& a, braid::Stream& s) {
  launch(stream(s), "mla_gather", gather_kernel, dim3(static_cast<unsigned>(a.latent.rows)), 128, 0, a);
}

}  // namespace braid::cuda
