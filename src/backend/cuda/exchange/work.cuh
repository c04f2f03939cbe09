// SPDX-License-Identifier: Apache-2.0
// What the kernels of an exchange share: flags between devices, waits that end, and pieces of work.
//
// Data is announced by a flag: all threads of a block write, __syncthreads(), then one thread stores the
// flag with release. Who waits loads the flag with acquire, then __syncthreads(). Data
// of peers is read past the first-level cache.
#pragma once

#include <cuda_bf16.h>

#include "backend/cuda/exchange/kernels.h"

namespace braid::cuda {

__device__ inline std::uint64_t nanoseconds() {
  std::uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}

__device__ inline std::uint32_t load_acquire(const std::uint32_t* flag) {
  std::uint32_t value;
  asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(flag) : "memory");
  return value;
}
__device__ inline std::uint64_t load_acquire(const std::uint64_t* flag) {
  std::uint64_t value;
  asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(flag) : "memory");
  return value;
}
// Without ordering: what a wait looks at again and again, since every acquire empties the first-level cache.
__device__ inline std::uint32_t load_relaxed(const std::uint32_t* flag) {
  std::uint32_t value;
  asm volatile("ld.relaxed.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(flag) : "memory");
  return value;
}
__device__ inline std::uint64_t load_relaxed(const std::uint64_t* flag) {
  std::uint64_t value;
  asm volatile("ld.relaxed.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(flag) : "memory");
  return value;
}
__device__ inline void store_release(std::uint32_t* flag, std::uint32_t value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(flag), "r"(value) : "memory");
}
__device__ inline void store_release(std::uint64_t* flag, std::uint64_t value) {
  asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(flag), "l"(value) : "memory");
}

// Two words, each of which arrives whole.
struct Told {
  std::uint64_t slot, weight;
};
__device__ inline void store_told(Told* to, const Told& told) {
  asm volatile("st.relaxed.sys.global.v2.u64 [%0], {%1, %2};" ::"l"(to), "l"(told.slot), "l"(told.weight) : "memory");
}
__device__ inline Told load_told(const Told* from) {
  Told told;
  asm volatile("ld.relaxed.sys.global.v2.u64 {%0, %1}, [%2];" : "=l"(told.slot), "=l"(told.weight) : "l"(from) : "memory");
  return told;
}

template <class T>
__device__ inline T* in_window(const ExchangeShared& s, int rank, std::int64_t offset) {
  return reinterpret_cast<T*>(s.window[rank] + offset);
}
template <class T>
__device__ inline T* in_own(const ExchangeShared& s, std::int64_t offset) {
  return reinterpret_cast<T*>(s.own + offset);
}
__device__ inline ExchangeState& state_of(const ExchangeShared& s) { return *in_own<ExchangeState>(s, s.at.state); }
// The epoch of the journey at hand, the same in every kernel of it.
__device__ inline std::uint32_t epoch_of(const ExchangeShared& s) {
  return *static_cast<volatile std::uint32_t*>(&state_of(s).epoch) + 1;
}

__device__ inline std::uint32_t epoch_in(std::uint32_t flag) { return flag; }
__device__ inline std::uint32_t epoch_in(std::uint64_t flag) { return static_cast<std::uint32_t>(flag >> 32); }
__device__ inline bool reached(std::uint32_t seen, std::uint32_t epoch) { return static_cast<std::int32_t>(seen - epoch) >= 0; }

struct Awaited {
  WaitSite site;
  int layer, peer, part;
};

// Writes down the first wait of this rank that was given up.
__device__ inline void raise(const ExchangeShared& s, const Awaited& what, std::uint32_t expected, std::uint32_t seen, std::uint64_t waited) {
  if (atomicExch(&state_of(s).raised, 1u) != 0) return;
  Fault& fault = *s.fault;
  fault.site = what.site;
  fault.layer = what.layer;
  fault.rank = s.rank;
  fault.peer = what.peer;
  fault.part = what.part;
  fault.expected = expected;
  fault.seen = seen;
  fault.waited_ns = waited;
  __threadfence_system();
  *static_cast<volatile std::uint32_t*>(&fault.raised) = 1;
}

// Until the flag has reached the epoch; its last value. Gives up when the time is over, when another
// thread of this rank gave up, or when the host says so: the value is of an epoch before then.
template <class Flag>
__device__ Flag await(const ExchangeShared& s, const Flag* flag, std::uint32_t epoch, const Awaited& what) {
  constexpr int kPolls = 256;
  constexpr unsigned kPauseNs = 40;
  const std::uint64_t begin = nanoseconds();
  for (;;) {
    Flag value{};
    for (int i = 0; i < kPolls; ++i) {
      value = load_relaxed(flag);
      if (reached(epoch_in(value), epoch)) return load_acquire(flag);
      __nanosleep(kPauseNs);
    }
    if (*static_cast<volatile std::uint32_t*>(&state_of(s).raised) != 0) return value;
    const std::uint64_t waited = nanoseconds() - begin;
    const bool abandoned = *static_cast<volatile std::uint32_t*>(&s.fault->abandon) != 0;
    if (waited < s.timeout_ns && !abandoned) continue;
    raise(s, what, epoch, epoch_in(value), waited);
    return value;
  }
}

// The block's next piece of work, of those that all blocks share.
__device__ inline int take_work(const ExchangeShared& s) {
  __shared__ int taken;
  __syncthreads();
  if (threadIdx.x == 0) taken = static_cast<int>(atomicAdd(&state_of(s).taken, 1u));
  __syncthreads();
  return taken;
}

// At the end of every block. The last one readies the counters for the next kernel and, when the
// journey is over, begins the next epoch.
__device__ inline void finish(const ExchangeShared& s, bool journey_over) {
  __syncthreads();
  if (threadIdx.x != 0) return;
  ExchangeState& state = state_of(s);
  __threadfence();
  if (atomicAdd(&state.done, 1u) + 1 < gridDim.x) return;
  state.done = 0;
  state.taken = 0;
  if (journey_over) ++state.epoch;
}

// Blocks that only send, when a kernel does both halves: the others are ready for what arrives.
__device__ inline int senders(bool both) { return both && gridDim.x > 1 ? static_cast<int>(gridDim.x / 2) : static_cast<int>(gridDim.x); }
// The number of this block among them, -1: it is not one. Block 0 sorts, so it sends only when alone.
__device__ inline int sender_index(bool both) {
  if (!both || gridDim.x == 1) return static_cast<int>(blockIdx.x);
  const int index = static_cast<int>(blockIdx.x) - 1;
  return index < senders(both) ? index : -1;
}

// The number of this block among those that tell the others what comes, and how many they are: where one kernel does
// both halves, those that do not send rows meanwhile. -1: it is not one.
struct Teller {
  int index, count;
};
__device__ inline Teller teller(bool both) {
  const int first = senders(both) + 1, count = static_cast<int>(gridDim.x) - first;
  if (!both || count < 1) return {static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x)};
  return {static_cast<int>(blockIdx.x) - first, count};
}

}  // namespace braid::cuda
