// SPDX-License-Identifier: Apache-2.0
// Elements by run-time type, sums over a warp and a block, and launching: what the row kernels share.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "backend/cuda/stream.h"
#include "tensor/tensor.h"

namespace braid::cuda {

__device__ inline float load(const void* data, DType dtype, std::int64_t i) {
  return dtype == DType::kBF16 ? __bfloat162float(static_cast<const __nv_bfloat16*>(data)[i])
                               : static_cast<const float*>(data)[i];
}

__device__ inline void store(void* data, DType dtype, std::int64_t i, float value) {
  if (dtype == DType::kBF16) static_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16_rn(value);
  else static_cast<float*>(data)[i] = value;
}

__device__ inline int element_bytes(DType dtype) { return dtype == DType::kBF16 ? 2 : dtype == DType::kF32 ? 4 : 1; }

__device__ inline void* row_of(const Activations& a, std::int64_t row) {
  return static_cast<char*>(a.data) + row * a.stride * element_bytes(a.dtype);
}

__device__ inline float warp_sum(float value) {
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(~0u, value, offset);
  return value;
}

__device__ inline float warp_max(float value) {
  for (int offset = 16; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(~0u, value, offset));
  return value;
}

// The sum over all threads of a block, in every thread; the order depends on the block's size only.
__device__ inline float block_sum(float value) {
  __shared__ float part[32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  value = warp_sum(value);
  __syncthreads();
  if (lane == 0) part[warp] = value;
  __syncthreads();
  value = lane < static_cast<int>(blockDim.x / 32) ? part[lane] : 0.0f;
  return warp_sum(value);
}

// kernel<<<blocks, threads, shared>>>(args...) on the stream's queue, unless a call before failed.
template <class... Parameters, class... Args>
void launch(Stream& stream, const char* what, void (*kernel)(Parameters...), dim3 blocks, unsigned threads,
            std::size_t shared, const Args&... args) {
  if (stream.failed() || blocks.x == 0 || blocks.y == 0 || blocks.z == 0) return;
  if (shared > 48 * 1024) {
    stream.check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)), what);
  }
  kernel<<<blocks, threads, shared, stream.queue()>>>(args...);
  stream.check(cudaGetLastError(), what);
}

inline unsigned blocks_for(std::int64_t items, std::int64_t each) {
  return static_cast<unsigned>((items + each - 1) / each);
}

}  // namespace braid::cuda
