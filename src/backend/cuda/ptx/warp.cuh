// SPDX-License-Identifier: Apache-2.0
// What a warp does as one: its number, its elected lane, its registers, storing 8x8 matrices; and the
// multiprocessor's own powers of two.
#pragma once

#include <cstdint>

namespace braid::cuda::ptx {

// The warp's number in its block, in a form that the compiler knows to be the same in all lanes.
__device__ inline int warp_number() {
  return __shfl_sync(0xffffffff, static_cast<int>(threadIdx.x / 32), 0);
}

// True in one lane of the warp, which must be converged.
__device__ inline bool elected() {
  std::uint32_t chosen;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "elect.sync _|p, 0xffffffff;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}\n"
      : "=r"(chosen));
  return chosen != 0;
}

template <int kRegisters>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

template <int kRegisters>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// 2^x to about 2 ulp; results below the normal numbers are zero.
__device__ inline float exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Four 8x8 matrices of 16-bit elements; lane i's address is row i % 8 of matrix i / 8.
__device__ inline void store_matrices(std::uint32_t address,
                                      std::uint32_t m0,
                                      std::uint32_t m1,
                                      std::uint32_t m2,
                                      std::uint32_t m3) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
               "r"(m0),
               "r"(m1),
               "r"(m2),
               "r"(m3)
               : "memory");
}

}  // namespace braid::cuda::ptx
