// SPDX-License-Identifier: Apache-2.0
// cp.async: copies of 4, 8 or 16 bytes from global to shared memory that a thread does not wait for.
#pragma once

#include <cstdint>

namespace braid::cuda::ptx {

// `valid` of 16 bytes are read, the rest of the destination becomes zero.
__device__ inline void copy_16(void* shared, const void* global, int valid) {
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(valid));
}

__device__ inline void copy_8(void* shared, const void* global, int valid) {
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to), "l"(global), "r"(valid));
}

__device__ inline void copy_4(void* shared, const void* global, int valid) {
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(global), "r"(valid));
}

__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;"); }

// All but the last `kPending` groups of this thread's copies have arrived.
template <int kPending>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending));
}

}  // namespace braid::cuda::ptx
