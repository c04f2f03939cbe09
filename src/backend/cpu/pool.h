// SPDX-License-Identifier: Apache-2.0
// A persistent fork-join pool. The caller is worker 0; the others wait for the next epoch, first
// spinning for a bounded time, then asleep in a futex. A fork costs one atomic add while the
// workers spin (about 0.5 us fork to join on two cores) and a system call only if one sleeps.
//
// When there are more workers than processors, or when joins keep running into their spin limit
// because other processes hold the cores, the limits shrink and waits yield and sleep instead.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace braid::cpu {

// The processors that this thread may run on.
std::vector<int> allowed_cpus();

class Pool {
 public:
  using Job = void (*)(void* context, int worker);

  // `workers` >= 1 counts the caller. With `pin`, and a processor for each worker, workers 1.. are
  // bound to one processor each; the caller's own affinity is never touched.
  Pool(int workers, bool pin);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int workers() const { return static_cast<int>(threads_.size()) + 1; }
  bool oversubscribed() const { return oversubscribed_; }

  // Calls job(context, w) once for each worker w and returns when all calls have returned, with
  // their writes visible. One caller at a time; a job must not call run() of its own pool.
  void run(Job job, void* context);

 private:
  void work(int worker, int cpu);
  std::uint32_t await_epoch(std::uint32_t seen);
  void join();

  // Written by the caller only.
  alignas(64) std::atomic<std::uint32_t> epoch_{0};
  std::atomic<bool> stop_{false};
  Job job_ = nullptr;
  void* context_ = nullptr;
  // Written by the workers.
  alignas(64) std::atomic<std::uint32_t> pending_{0};
  std::atomic<std::uint32_t> sleepers_{0};
  // Rare.
  alignas(64) std::atomic<std::uint32_t> caller_sleeps_{0};
  std::atomic<std::int64_t> spin_ns_;
  const bool oversubscribed_;
  std::vector<std::thread> threads_;
};

}  // namespace braid::cpu
