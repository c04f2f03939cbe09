// SPDX-License-Identifier: Apache-2.0
// Ranks that are threads of one process, for tests and benchmarks.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "fabric/group.h"

namespace braid::fabric::testing {

// What the threads share.
class Meeting {
 public:
  explicit Meeting(int size) : texts_(static_cast<std::size_t>(size)) {}

  std::vector<std::string> gather(Rank rank, const std::string& mine) {
    std::unique_lock lock(mutex_);
    const std::uint64_t round = round_;
    texts_[static_cast<std::size_t>(rank)] = mine;
    if (++arrived_ == texts_.size()) {
      done_ = texts_;
      arrived_ = 0;
      ++round_;
      all_here_.notify_all();
      return done_;
    }
    all_here_.wait(lock, [&] { return round_ != round; });
    return done_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable all_here_;
  std::vector<std::string> texts_;
  std::vector<std::string> done_;
  std::size_t arrived_ = 0;
  std::uint64_t round_ = 0;
};

class LocalBootstrap final : public Bootstrap {
 public:
  LocalBootstrap(Meeting& meeting, Rank rank, int size) : meeting_(meeting), rank_(rank), size_(size) {}
  Rank rank() const override { return rank_; }
  int size() const override { return size_; }
  Result<std::vector<std::string>> all_gather(const std::string& mine) override { return meeting_.gather(rank_, mine); }

 private:
  Meeting& meeting_;
  const Rank rank_;
  const int size_;
};

// Runs body(bootstrap) on one thread a rank.
inline void run_ranks(int size, const std::function<void(Bootstrap&)>& body) {
  Meeting meeting(size);
  std::vector<std::thread> threads;
  for (Rank r = 0; r < size; ++r) {
    threads.emplace_back([&, r] {
      LocalBootstrap bootstrap(meeting, r, size);
      body(bootstrap);
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace braid::fabric::testing
