// SPDX-License-Identifier: Apache-2.0
// combine: out[to(t)] += the weighted rows of result t, in their order. A product is added without being
// rounded, as the sums of an exchange are (exchange/pieces.cuh): both give the same bits.
//
// Memory, in float32: rows are read once, out is read and written, four columns a thread at once where 16-byte pieces
// allow it; up to eight rows are under way before the first is added. Warps: a block a result and
// kThreads pieces. Bound: memory.
#include "backend/cuda/moe/moe.h"
#include "backend/cuda/rows/element.cuh"

namespace braid::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kAhead = 8;

__device__ inline void add(float& sum, float weight, float x) { sum = fmaf(weight, x, sum); }
__device__ inline void add(float4& sum, float weight, const float4& x) {
  add(sum.x, weight, x.x), add(sum.y, weight, x.y), add(sum.z, weight, x.z), add(sum.w, weight, x.w);
}

// Piece: float or float4.
template <class Piece>
__global__ void __launch_bounds__(kThreads) combine_kernel(const __grid_constant__ ops::Combine::Args a) {
  constexpr int kWide = sizeof(Piece) / sizeof(float);
  const std::int64_t t = blockIdx.y, c = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kWide;
  if (c >= a.out.cols) return;
  const std::int64_t begin = a.starts ? a.starts[t] : t * a.per_token;
  const std::int64_t end = a.starts ? a.starts[t + 1] : begin + a.per_token;
  auto* out = reinterpret_cast<Piece*>(static_cast<float*>(a.out.data) + (a.out_rows ? a.out_rows[t] : t) * a.out.stride + c);
  Piece sum = a.accumulate ? *out : Piece{};
  for (std::int64_t first = begin; first < end; first += kAhead) {
    Piece row[kAhead];
    float weight[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      if (first + j >= end) continue;
      weight[j] = a.weights[first + j];
      row[j] = *reinterpret_cast<const Piece*>(static_cast<const float*>(a.rows.data) + a.slots[first + j] * a.rows.stride + c);
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      if (first + j < end) add(sum, weight[j], row[j]);
    }
  }
  *out = sum;
}

// Of any element types, a column a thread.
__global__ void __launch_bounds__(kThreads) mixed_kernel(const __grid_constant__ ops::Combine::Args a) {
  const std::int64_t t = blockIdx.y, c = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (c >= a.out.cols) return;
  const std::int64_t begin = a.starts ? a.starts[t] : t * a.per_token;
  const std::int64_t end = a.starts ? a.starts[t + 1] : begin + a.per_token;
  void* const out = row_of(a.out, a.out_rows ? a.out_rows[t] : t);
  float sum = a.accumulate ? load(out, a.out.dtype, c) : 0.0f;
  for (std::int64_t i = begin; i < end; ++i) add(sum, a.weights[i], load(row_of(a.rows, a.slots[i]), a.rows.dtype, c));
  store(out, a.out.dtype, c, sum);
}

}  // namespace

void combine(const ops::Combine::Args& a, braid::Stream& s) {
  if (a.rows.dtype != DType::kF32 || a.out.dtype != DType::kF32) {
    const dim3 grid(blocks_for(a.out.cols, kThreads), static_cast<unsigned>(a.results()));
    return launch(stream(s), "combine", mixed_kernel, grid, kThreads, 0, a);
  }
  const bool wide = a.out.cols % 4 == 0 && a.out.stride % 4 == 0 && a.rows.stride % 4 == 0;
  const dim3 grid(blocks_for(a.out.cols, kThreads * (wide ? 4 : 1)), static_cast<unsigned>(a.results()));
  launch(stream(s), "combine", wide ? combine_kernel<float4> : combine_kernel<float>, grid, kThreads, 0, a);
}

}  // namespace braid::cuda
