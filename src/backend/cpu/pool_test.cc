// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/pool.h"

#include <gtest/gtest.h>

#include <numeric>

#include "backend/cpu/backend.h"
#include "backend/cpu/cpuid.h"

namespace braid::cpu {
namespace {

TEST(Pool, RunsAJobOnceOnEachWorker) {
  for (int workers : {1, 2, 3, 7}) {
    Pool pool(workers, true);
    std::vector<int> calls(static_cast<std::size_t>(workers), 0);
    for (int round = 0; round < 50; ++round) {
      pool.run([](void* c, int w) { ++(*static_cast<std::vector<int>*>(c))[static_cast<std::size_t>(w)]; },
               &calls);
    }
    EXPECT_EQ(calls, std::vector<int>(static_cast<std::size_t>(workers), 50));
  }
}

TEST(Pool, SurvivesManyTinyJobsWithMoreWorkersThanProcessors) {
  const int workers = static_cast<int>(allowed_cpus().size()) + 3;
  Pool pool(workers, true);
  EXPECT_TRUE(pool.oversubscribed());
  std::atomic<std::int64_t> sum{0};
  for (int round = 0; round < 500; ++round) {
    pool.run([](void* c, int w) { static_cast<std::atomic<std::int64_t>*>(c)->fetch_add(w); }, &sum);
  }
  EXPECT_EQ(sum.load(), 500LL * workers * (workers - 1) / 2);
}

TEST(Pool, TwoPoolsShareTheProcessors) {
  std::int64_t counts[2] = {0, 0};
  const auto drive = [&](int i) {
    Stream stream({.threads = 2});
    for (int round = 0; round < 300; ++round) {
      std::int64_t parts[2] = {0, 0};
      stream.run([&](int worker, int) { parts[worker] = round; });
      counts[i] += parts[0] + parts[1];
    }
  };
  std::thread other([&] { drive(1); });
  drive(0);
  other.join();
  EXPECT_EQ(counts[0], 300 * 299);
  EXPECT_EQ(counts[1], 300 * 299);
}

TEST(Pool, WorkersThatFellAsleepAreWoken) {
  Stream stream({.threads = 3});  // more workers than most test machines spare: waits are short
  int total = 0;
  for (int round = 0; round < 20; ++round) {
    std::vector<int> ran(3, 0);
    stream.run([&](int worker, int) { ran[static_cast<std::size_t>(worker)] = 1; });
    total += std::accumulate(ran.begin(), ran.end(), 0);
    for (int i = 0; i < 100; ++i) std::this_thread::yield();
  }
  EXPECT_EQ(total, 60);
}

TEST(StreamSplit, EveryItemIsVisitedOnceWhateverTheWorkers) {
  for (int threads : {1, 2, 5}) {
    Stream stream({.threads = threads});
    for (std::int64_t n : {0, 1, 2, 3, 17, 1000}) {
      for (double ns : {0.0, 1e6}) {
        std::vector<int> visits(static_cast<std::size_t>(n), 0);
        stream.split(n, ns, [&](std::int64_t begin, std::int64_t end, int) {
          for (auto i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
        });
        stream.queue(n, ns, [&](std::int64_t i, int) { ++visits[static_cast<std::size_t>(i)]; });
        EXPECT_EQ(visits, std::vector<int>(static_cast<std::size_t>(n), 2));
      }
    }
  }
}

TEST(StreamSplit, SmallWorkStaysOnTheCaller) {
  Stream stream({.threads = 2});
  const auto caller = std::this_thread::get_id();
  stream.split(8, 10, [&](std::int64_t, std::int64_t, int worker) {
    EXPECT_EQ(worker, 0);
    EXPECT_EQ(std::this_thread::get_id(), caller);
  });
}

TEST(StreamScratch, GrowsAndIsAligned) {
  Stream stream({.threads = 2});
  stream.run([&](int worker, int) {
    for (std::size_t bytes : {100u, 10000u, 5000000u}) {
      std::byte* p = stream.scratch(worker, bytes);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p) % 64, 0u);
      p[bytes - 1] = std::byte{1};
    }
  });
}

TEST(Cpuid, ATierHidesTheFeaturesAboveIt) {
  Capabilities all;
  all.features = {"avx2", "fma", "avx512f", "avx512bf16", "amx-tile"};
  EXPECT_TRUE(limit(all, "").has("amx-tile"));
  EXPECT_FALSE(limit(all, "avx512bf16").has("amx-tile"));
  EXPECT_TRUE(limit(all, "avx512bf16").has("avx512bf16"));
  EXPECT_FALSE(limit(all, "avx512").has("avx512bf16"));
  EXPECT_TRUE(limit(all, "avx2").has("fma"));
  EXPECT_FALSE(limit(all, "avx2").has("avx512f"));
  EXPECT_TRUE(limit(all, "scalar").features.empty());
}

TEST(Cpuid, FindsTheDevice) { EXPECT_EQ(make_stream({.threads = 1})->capabilities().device, "cpu"); }

}  // namespace
}  // namespace braid::cpu
