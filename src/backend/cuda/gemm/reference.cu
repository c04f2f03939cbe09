// SPDX-License-Identifier: Apache-2.0
// Idea: a warp an output, its lanes striding over one block of 128 inputs (64 of bf16) at a time;
// sums of blocks in float64. Bound: none worth naming, it is slow.
#include "backend/cuda/gemm/reference.h"

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <string>

namespace braid::cuda {
namespace {

struct ReferenceArguments {
  GemmProblem problem;
  GemmOperands operands;
  ReferenceRows wanted;
};

__device__ float element(const void* values, Precision precision, std::int64_t index) {
  if (precision == Precision::kBf16) {
    return __bfloat162float(static_cast<const __nv_bfloat16*>(values)[index]);
  }
  return static_cast<float>(static_cast<const __nv_fp8_e4m3*>(values)[index]);
}

__global__ void reference_kernel(const ReferenceArguments args) {
  const GemmProblem& problem = args.problem;
  const int n = problem.n;
  const std::int64_t output = blockIdx.x * std::int64_t{blockDim.x / 32} + threadIdx.x / 32;
  if (output >= static_cast<std::int64_t>(args.wanted.count) * n) {
    return;
  }
  const int column = static_cast<int>(output % n);
  const std::int64_t row = args.wanted.rows[output / n];
  const std::int64_t group = args.wanted.groups[output / n];
  const int k_blocks = (problem.k + 127) / 128;
  const int n_blocks = (n + 127) / 128;
  double sum = 0;
  for (int block = 0; block < k_blocks; ++block) {
    float part = 0;
    for (int k = block * 128 + threadIdx.x % 32; k < min(problem.k, block * 128 + 128); k += 32) {
      part += element(args.operands.activations, problem.precision, row * problem.k + k) *
              element(args.wanted.weights.values, problem.precision,
                      (group * n + column) * problem.k + k);
    }
    if (problem.precision == Precision::kFp8) {
      part *= args.operands.scales[block * scale_stride(args.operands.rows) + row] *
              args.wanted.weights.scales[(group * n_blocks + column / 128) * k_blocks + block];
    }
    sum += part;
  }
  for (int step = 16; step > 0; step /= 2) {
    sum += __shfl_down_sync(0xffffffff, sum, step);
  }
  if (threadIdx.x % 32 == 0) {
    args.wanted.out[output] = static_cast<float>(sum);
  }
}

}  // namespace

Status reference_gemm(const GemmProblem& problem,
                      const GemmOperands& operands,
                      const ReferenceRows& wanted,
                      cudaStream_t stream) {
  const std::int64_t outputs = static_cast<std::int64_t>(wanted.count) * problem.n;
  if (outputs == 0) {
    return {};
  }
  const ReferenceArguments args{problem, operands, wanted};
  reference_kernel<<<static_cast<unsigned>((outputs + 7) / 8), 256, 0, stream>>>(args);
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) {
    return internal_error(std::string("reference GEMM: ") + cudaGetErrorString(error));
  }
  return {};
}

}  // namespace braid::cuda
