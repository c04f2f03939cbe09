// SPDX-License-Identifier: Apache-2.0
// mma.sync: one warp multiplies small matrices that lie in its registers (PTX ISA, "Matrix
// fragments for mma.m16n8k16 with floating point type").
#pragma once

#include <cstdint>

namespace braid::cuda::ptx {

// c [16, 8] += a [16, 16] * b [16, 8], bfloat16 into float32.
__device__ inline void mma_bf16(float (&c)[4], std::uint32_t a0, std::uint32_t a1, std::uint32_t a2, std::uint32_t a3,
                                std::uint32_t b0, std::uint32_t b1) {
  asm(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

}  // namespace braid::cuda::ptx
