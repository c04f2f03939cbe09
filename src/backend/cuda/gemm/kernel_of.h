// SPDX-License-Identifier: Apache-2.0
// From an index into tilings(precision) to the compiled kernel.
#pragma once

#include "backend/cuda/gemm/packed.h"

namespace braid::cuda {

struct CompiledKernel {
  const void* function = nullptr;
  int shared_bytes = 0;
};

CompiledKernel fp8_kernel(int tiling);
CompiledKernel bf16_kernel(int tiling);

}  // namespace braid::cuda
