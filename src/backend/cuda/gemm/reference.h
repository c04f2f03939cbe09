// SPDX-License-Identifier: Apache-2.0
// The slow reference of the GEMM on the device: what gemm.h promises, from weights as a checkpoint
// holds them, for chosen rows. Every kernel is compared with it.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/cuda/gemm/gemm.h"

namespace braid::cuda {

struct ReferenceRows {
  PackSource weights;                  // as given to pack_weights
  const std::int32_t* rows = nullptr;  // [count] on the device: rows of the activations
  const std::int32_t* groups = nullptr;  // [count] the group of each
  int count = 0;
  float* out = nullptr;  // [count, n]
};

Status reference_gemm(const GemmProblem& problem,
                      const GemmOperands& operands,
                      const ReferenceRows& wanted,
                      cudaStream_t stream);

}  // namespace braid::cuda
