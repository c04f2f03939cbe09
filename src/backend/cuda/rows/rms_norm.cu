// SPDX-License-Identifier: Apache-2.0
// rms_norm: out = x / sqrt(mean(x^2) + eps) * weight, also unrounded when asked.
//
// Memory: a row of x is read once and kept in registers, kKept pieces of a thread; columns behind those
// are read again from the L1 cache. Warps: one block of 256 threads a row; a sum over the block in
// fixed order between the two passes. Bound: memory, and latency at decode.
#include "backend/cuda/rows/element.cuh"
#include "backend/cuda/rows/rows.h"

namespace braid::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kKept = 16;

__global__ void __launch_bounds__(kThreads) rms_norm_kernel(const __grid_constant__ ops::RmsNorm::Args a) {
  const std::int64_t t = blockIdx.x;
  const float* x = a.x.data + t * a.x.stride;
  const auto cols = static_cast<int>(a.x.cols), first = static_cast<int>(threadIdx.x);
  float kept[kKept], weight[kKept], sum = 0;
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const int c = first + i * kThreads;
    kept[i] = c < cols ? x[c] : 0.0f;
    weight[i] = c < cols ? a.weight[c] : 0.0f;
  }
#pragma unroll
  for (int i = 0; i < kKept; ++i) sum += kept[i] * kept[i];
  for (int c = first + kKept * kThreads; c < cols; c += kThreads) sum += x[c] * x[c];
  const float factor = rsqrtf(block_sum(sum) / static_cast<float>(cols) + a.eps);
  void* out = row_of(a.out, t);
  const auto put = [&](int c, float y) {
    store(out, a.out.dtype, c, y);
    if (a.out2.data) a.out2.data[t * a.out2.stride + c] = y;
  };
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    if (first + i * kThreads < cols) put(first + i * kThreads, kept[i] * factor * weight[i]);
  }
  for (int c = first + kKept * kThreads; c < cols; c += kThreads) put(c, x[c] * factor * a.weight[c]);
}

}  // namespace

void rms_norm(const ops::RmsNorm::Args& a, braid::Stream& s) {
  launch(stream(s), "rms_norm", rms_norm_kernel, dim3(static_cast<unsigned>(a.x.rows)), kThreads, 0, a);
}

}  // namespace braid::cuda
