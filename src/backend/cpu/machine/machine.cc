// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/machine/machine.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <chrono>
#include <vector>

#include "backend/cpu/machine/loops.h"

namespace braid::cpu {
namespace {

constexpr int kRepetitions = 7;
constexpr double kTargetNs = 1.5e7;

std::int64_t now_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

// Nanoseconds from the first worker's begin to the last one's end; fn(worker, workers).
template <class F>
double together(Stream& stream, int workers, F&& fn) {
  struct alignas(64) Span {
    std::int64_t begin = 0, end = 0;
  };
  std::vector<Span> spans(static_cast<std::size_t>(workers));
  std::atomic<int> arrived{0};
  const auto work = [&](int worker, int) {
    if (worker >= workers) return;
    Span& span = spans[static_cast<std::size_t>(worker)];
    arrived.fetch_add(1);
    for (int spins = 0; arrived.load() < workers; ++spins) {
      if (spins > 1000) sched_yield();
    }
    span.begin = now_ns();
    fn(worker, workers);
    span.end = now_ns();
  };
  workers == 1 ? work(0, 1) : stream.run(work);
  std::int64_t begin = spans[0].begin;
  std::int64_t end = spans[0].end;
  for (const Span& span : spans) {
    begin = std::min(begin, span.begin);
    end = std::max(end, span.end);
  }
  return static_cast<double>(std::max<std::int64_t>(1, end - begin));
}

// The best rate in `amount` a nanosecond, of one worker and of all; `shared`: all do it together.
template <class F>
Limit best(Stream& stream, double amount, bool shared, F&& fn) {
  Limit limit;
  for (const int workers : {1, stream.workers()}) {
    double shortest = 1e300;
    for (int i = 0; i < kRepetitions; ++i) shortest = std::min(shortest, together(stream, workers, fn));
    const double rate = amount * (shared ? 1 : workers) / shortest;
    if (workers == 1) limit.one = rate;
    limit.all = rate;
  }
  return limit;
}

Limit arithmetic(Stream& stream, const PeakLoop& loop) {
  std::int64_t iterations = 100'000;
  loop.run(iterations);
  const double ns = together(stream, 1, [&](int, int) { loop.run(iterations); });
  iterations = static_cast<std::int64_t>(static_cast<double>(iterations) * kTargetNs / ns) + 1;
  return best(stream, static_cast<double>(iterations) * loop.operations, false,
              [&](int, int) { loop.run(iterations); });
}

// `bytes` of each worker (or of all, shared out), read `times`.
Limit reading(Stream& stream, ReadLoop read, const Buffer& memory, std::size_t bytes, int times,
              bool shared) {
  return best(stream, static_cast<double>(bytes) * times, shared, [&](int worker, int workers) {
    const std::size_t share =
        shared ? bytes / static_cast<std::size_t>(workers) / 1024 * 1024 : bytes;
    const std::byte* from = memory.data() + static_cast<std::size_t>(worker) * share;
    for (int i = 0; i < times; ++i) read(from, static_cast<std::int64_t>(share));
  });
}

struct Loops {
  const char* name = "scalar";
  PeakLoop f32 = kScalarF32Peak;
  PeakLoop bf16;
  PeakLoop int8;
  ReadLoop read = kScalarRead;
};

Loops loops_for(const Capabilities& caps) {
  Loops loops;
#if defined(__x86_64__)
  if (caps.has("avx2") && caps.has("fma")) loops = {"avx2", kAvx2F32Peak, {}, {}, kAvx2Read};
  if (caps.has("avx512f") && caps.has("avx512vl")) {
    loops = {"avx512", kAvx512F32Peak, {}, {}, kAvx512Read};
  }
  if (caps.has("avx512bf16") && caps.has("avx512vnni")) {
    loops.name = "avx512bf16";
    loops.bf16 = kAvx512Bf16Peak;
    loops.int8 = kAvx512Int8Peak;
  }
  if (caps.has("amx-bf16") && caps.has("amx-int8")) {
    loops.name = "amx";
    loops.bf16 = kAmxBf16Peak;
    loops.int8 = kAmxInt8Peak;
  }
#endif
  return loops;
}

}  // namespace

MachineLimits measure_machine(Stream& stream, std::size_t dram_bytes) {
  const Loops loops = loops_for(stream.capabilities());
  const auto workers = static_cast<std::size_t>(stream.workers());
  MachineLimits limits;
  limits.workers = stream.workers();
  limits.arithmetic = loops.name;
  limits.f32_gflops = arithmetic(stream, loops.f32);
  limits.bf16_gflops = loops.bf16.run ? arithmetic(stream, loops.bf16) : limits.f32_gflops;
  limits.int8_gops = loops.int8.run ? arithmetic(stream, loops.int8) : limits.f32_gflops;
  constexpr std::size_t kL2 = 512 << 10;
  constexpr std::size_t kL3 = 4 << 20;
  const Buffer memory(std::max(dram_bytes / 1024 * 1024, workers * kL3));
  // Pages that were never written are one page of zeros, read from the first-level cache.
  std::memset(memory.data(), 1, memory.size());
  limits.dram_gb_s = reading(stream, loops.read, memory, dram_bytes / 1024 * 1024, 1, true);
  limits.l3_gb_s = reading(stream, loops.read, memory, kL3, 64, false);
  limits.l2_gb_s = reading(stream, loops.read, memory, kL2, 1024, false);
  return limits;
}

}  // namespace braid::cpu
