// SPDX-License-Identifier: Apache-2.0
// ldmatrix: a warp loads 8 x 8 matrices of 16-bit elements from shared memory into fragments.
#pragma once

#include <cstdint>

namespace braid::cuda::ptx {

// Four matrices; lane 8m + r gives the address of row r of matrix m.
__device__ inline void load_matrices(std::uint32_t (&m)[4], const void* row) {
  const auto from = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(from));
}

// The same, transposed; lane 8m + r gives the address of row r of matrix m.
__device__ inline void load_matrices_transposed(std::uint32_t (&m)[4], const void* row) {
  const auto from = static_cast<std::uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
               : "r"(from));
}

}  // namespace braid::cuda::ptx
