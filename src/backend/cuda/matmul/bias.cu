// SPDX-License-Identifier: Apache-2.0
// The bias of a linear layer, added to what a matrix kernel wrote.
//
// Memory: y is read and written once more, the bias stays in the cache. Warps: one block a row of a batch
// entry, its threads stride over the columns. Bound: memory, and launch time at decode.
#include "backend/cuda/matmul/matmul.h"
#include "backend/cuda/rows/element.cuh"

namespace braid::cuda {
namespace {

__global__ void bias_kernel(float* y, std::int64_t stride, std::int64_t batch_stride, const float* bias, std::int64_t n) {
  float* const row = y + blockIdx.x * stride + blockIdx.y * batch_stride;
  for (std::int64_t c = threadIdx.x; c < n; c += blockDim.x) row[c] += bias[blockIdx.y * n + c];
}

}  // namespace

void add_bias(const ops::Linear::Args& a, braid::Stream& s) {
  if (!a.bias) return;
  const dim3 grid(static_cast<unsigned>(a.x.rows), static_cast<unsigned>(a.weight->batch));
  launch(stream(s), "bias", bias_kernel, grid, 256, 0, static_cast<float*>(a.y.data), a.y.stride, a.y_batch_stride, a.bias, a.weight->n);
}

}  // namespace braid::cuda
