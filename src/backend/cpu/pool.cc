// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "base/check.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace braid::cpu {
namespace {

constexpr std::int64_t kSpinNs = 100'000;
constexpr std::int64_t kShortSpinNs = 2'000;
constexpr int kYields = 8;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

std::int64_t now_ns() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

// Returns at the latest after a second; callers re-check their condition.
void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t value) {
  const timespec limit{1, 0};
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, &limit, nullptr, 0);
}

void futex_wake_all(std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1 << 30, nullptr, nullptr, 0);
}

// Spins until done() or until `limit_ns` have passed; the clock is read every 32 pauses.
template <class Done>
bool spin(std::int64_t limit_ns, Done done) {
  for (int i = 0; i < 256; ++i) {
    if (done()) return true;
    pause();
  }
  const std::int64_t end = now_ns() + limit_ns;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      pause();
    }
  } while (now_ns() < end);
  return done();
}

template <class Done>
bool yield_until(Done done) {
  for (int i = 0; i < kYields; ++i) {
    if (done()) return true;
    sched_yield();
  }
  return done();
}

void bind_to(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);  // an optimisation: may fail
}

}  // namespace

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(static_cast<std::size_t>(cpu), &set)) cpus.push_back(cpu);
    }
  }
  if (cpus.empty()) {
    const int count = std::max(1u, std::thread::hardware_concurrency());
    for (int cpu = 0; cpu < count; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

Pool::Pool(int workers, bool pin)
    : spin_ns_(kSpinNs), oversubscribed_(workers > static_cast<int>(allowed_cpus().size())) {
  CHECK(workers >= 1);
  if (oversubscribed_) spin_ns_ = 0;
  const std::vector<int> cpus = allowed_cpus();
  threads_.reserve(static_cast<std::size_t>(workers - 1));
  for (int w = 1; w < workers; ++w) {
    const int cpu = pin && !oversubscribed_ ? cpus[static_cast<std::size_t>(w)] : -1;
    threads_.emplace_back([this, w, cpu] { work(w, cpu); });
  }
}

Pool::~Pool() {
  stop_.store(true, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_seq_cst);
  futex_wake_all(epoch_);
  for (auto& thread : threads_) thread.join();
}

void Pool::run(Job job, void* context) {
  if (threads_.empty()) {
    job(context, 0);
    return;
  }
  job_ = job;
  context_ = context;
  pending_.store(static_cast<std::uint32_t>(threads_.size()), std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) != 0) futex_wake_all(epoch_);
  job(context, 0);
  join();
}

void Pool::join() {
  const auto done = [this] { return pending_.load(std::memory_order_acquire) == 0; };
  const std::int64_t limit = spin_ns_.load(std::memory_order_relaxed);
  if (spin(limit, done)) {
    if (!oversubscribed_ && limit < kSpinNs) {
      spin_ns_.store(std::min(kSpinNs, limit + limit / 8 + 100), std::memory_order_relaxed);
    }
    return;
  }
  spin_ns_.store(oversubscribed_ ? 0 : std::max(kShortSpinNs, limit / 2), std::memory_order_relaxed);
  if (yield_until(done)) return;
  caller_sleeps_.store(1, std::memory_order_seq_cst);
  for (;;) {
    const std::uint32_t left = pending_.load(std::memory_order_seq_cst);
    if (left == 0) break;
    futex_wait(pending_, left);
  }
  caller_sleeps_.store(0, std::memory_order_relaxed);
}

std::uint32_t Pool::await_epoch(std::uint32_t seen) {
  const auto moved = [&] { return epoch_.load(std::memory_order_acquire) != seen; };
  if (!spin(spin_ns_.load(std::memory_order_relaxed), moved) && !yield_until(moved)) {
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    while (epoch_.load(std::memory_order_seq_cst) == seen) futex_wait(epoch_, seen);
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
  }
  return epoch_.load(std::memory_order_acquire);
}

void Pool::work(int worker, int cpu) {
  if (cpu >= 0) bind_to(cpu);
  std::uint32_t seen = 0;
  for (;;) {
    seen = await_epoch(seen);
    if (stop_.load(std::memory_order_relaxed)) return;
    job_(context_, worker);
    // The caller may return and destroy nothing: the pool outlives its workers' last access.
    const std::uint32_t before = pending_.fetch_sub(1, std::memory_order_seq_cst);
    if (caller_sleeps_.load(std::memory_order_seq_cst) != 0 && before == 1) futex_wake_all(pending_);
  }
}

}  // namespace braid::cpu
