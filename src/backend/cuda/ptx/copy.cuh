// SPDX-License-Identifier: Apache-2.0
// Asynchronous copies between global and shared memory: bulk and by tensor map.
//
// Loads count their bytes on an mbarrier. `multicast` is the mask of the cluster's blocks that
// receive the data, each at the same shared address and counted on its own barrier. `policy` is
// one of cache_policy.h.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace braid::cuda::ptx {

__device__ inline void prefetch_tensor_map(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

__device__ inline void load_tile(std::uint32_t shared,
                                 const CUtensorMap* map,
                                 int x,
                                 int y,
                                 std::uint32_t barrier,
                                 std::uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(shared),
      "l"(map),
      "r"(barrier),
      "r"(x),
      "r"(y),
      "l"(policy)
      : "memory");
}

__device__ inline void load_tile_multicast(std::uint32_t shared,
                                           const CUtensorMap* map,
                                           int x,
                                           int y,
                                           std::uint32_t barrier,
                                           std::uint16_t multicast,
                                           std::uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".multicast::cluster.L2::cache_hint [%0], [%1, {%3, %4}], [%2], %5, %6;" ::"r"(shared),
      "l"(map),
      "r"(barrier),
      "r"(x),
      "r"(y),
      "h"(multicast),
      "l"(policy)
      : "memory");
}

__device__ inline void load_bytes(std::uint32_t shared,
                                  const void* global,
                                  std::uint32_t bytes,
                                  std::uint32_t barrier,
                                  std::uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1], %2, [%3], %4;" ::"r"(shared),
      "l"(global),
      "r"(bytes),
      "r"(barrier),
      "l"(policy)
      : "memory");
}

__device__ inline void load_bytes_multicast(std::uint32_t shared,
                                            const void* global,
                                            std::uint32_t bytes,
                                            std::uint32_t barrier,
                                            std::uint16_t multicast,
                                            std::uint64_t policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster"
      ".L2::cache_hint [%0], [%1], %2, [%3], %4, %5;" ::"r"(shared),
      "l"(global),
      "r"(bytes),
      "r"(barrier),
      "h"(multicast),
      "l"(policy)
      : "memory");
}

__device__ inline void store_tile(const CUtensorMap* map, int x, int y, std::uint32_t shared) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(
                   map),
               "r"(shared),
               "r"(x),
               "r"(y)
               : "memory");
}

// `bytes` and both addresses are multiples of 16.
__device__ inline void store_bytes(void* global, std::uint32_t shared, std::uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(global), "r"(shared), "r"(bytes) : "memory");
}

__device__ inline void store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

// Until at most kPending of this thread's groups of stores still read shared memory.
template <int kPending>
__device__ inline void store_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}

// Until all of this thread's groups of stores have been written.
__device__ inline void store_wait() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

}  // namespace braid::cuda::ptx
