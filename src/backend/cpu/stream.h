// SPDX-License-Identifier: Apache-2.0
// The CPU's Stream: capabilities, the worker pool, scratch memory of each worker, and the ways to
// split work. A stream is used by one thread at a time, and jobs do not fork again.
//
// Kernels receive a braid::Stream& and call cpu::stream(s). fn below is any callable; nothing is
// allocated. Results must not depend on how items are split.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "backend/cpu/pool.h"
#include "tensor/device.h"
#include "tensor/tensor.h"

namespace braid::cpu {

// Work that takes less than this on one core is not worth a fork.
inline constexpr double kInlineNs = 2000;

struct StreamOptions {
  int threads = 0;   // 0: one for each processor that this process may use
  bool pin = true;   // bind the workers (not the caller) to processors
  std::string tier;  // hide features above this tier (cpuid.h); empty: none
};

class Stream final : public braid::Stream {
 public:
  explicit Stream(const StreamOptions& options);

  const Capabilities& capabilities() const override { return capabilities_; }
  int workers() const override { return pool_.workers(); }
  const Pool& pool() const { return pool_; }

  // fn(worker, workers) on every worker at once.
  template <class F>
  void run(F&& fn) {
    using Fn = std::remove_reference_t<F>;
    struct Context {
      Fn* fn;
      int workers;
    } context{&fn, workers()};
    pool_.run([](void* c, int w) { (*static_cast<Context*>(c)->fn)(w, static_cast<Context*>(c)->workers); },
              &context);
  }

  // fn(begin, end, worker): one contiguous share of [0, n) for each worker. `ns_each` is what an
  // item costs on one core, roughly; small work runs inline as fn(0, n, 0).
  template <class F>
  void split(std::int64_t n, double ns_each, F&& fn) {
    if (n <= 0) return;
    if (workers() == 1 || n == 1 || static_cast<double>(n) * ns_each < kInlineNs) {
      fn(std::int64_t{0}, n, 0);
      return;
    }
    run([&](int worker, int workers) {
      const std::int64_t begin = n * worker / workers;
      const std::int64_t end = n * (worker + 1) / workers;
      if (begin < end) fn(begin, end, worker);
    });
  }

  // fn(item, worker) for each item of [0, n), handed out one by one as workers become free, in
  // rising order. For items of unequal cost, several us each.
  template <class F>
  void queue(std::int64_t n, double ns_each, F&& fn) {
    if (workers() == 1 || n <= 1 || static_cast<double>(n) * ns_each < kInlineNs) {
      for (std::int64_t i = 0; i < n; ++i) fn(i, 0);
      return;
    }
    next_.store(0, std::memory_order_relaxed);
    run([&](int worker, int) {
      for (;;) {
        const std::int64_t item = next_.fetch_add(1, std::memory_order_relaxed);
        if (item >= n) return;
        fn(item, worker);
      }
    });
  }

  // At least `bytes` of memory, 64-byte aligned, that belongs to `worker` for the length of its
  // job; contents are lost when a larger piece is asked for. Called by that worker only.
  std::byte* scratch(int worker, std::size_t bytes);

 private:
  Capabilities capabilities_;
  Pool pool_;
  alignas(64) std::atomic<std::int64_t> next_{0};
  struct alignas(64) Scratch {
    Buffer buffer;
  };
  std::vector<Scratch> scratch_;
};

// The stream that kernels of this backend are called with.
inline Stream& stream(braid::Stream& s) { return static_cast<Stream&>(s); }

}  // namespace braid::cpu
