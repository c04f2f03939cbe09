// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <utility>

#include "backend/cuda/gemm/gemm_kernel.cuh"
#include "backend/cuda/gemm/kernel_of.h"
#include "backend/cuda/gemm/tilings.h"

namespace braid::cuda {
namespace {

template <int kIndex>
CompiledKernel compiled() {
  return {reinterpret_cast<const void*>(&gemm_kernel<Precision::kFp8, kIndex>),
          SharedMap<Precision::kFp8, kFp8Tilings[kIndex]>::kBytes};
}

template <int... kIndex>
CompiledKernel find(int tiling, std::integer_sequence<int, kIndex...>) {
  const std::array<CompiledKernel, sizeof...(kIndex)> all = {compiled<kIndex>()...};
  return all[tiling];
}

}  // namespace

CompiledKernel fp8_kernel(int tiling) {
  return find(tiling, std::make_integer_sequence<int, kFp8Tilings.size()>{});
}

}  // namespace braid::cuda
