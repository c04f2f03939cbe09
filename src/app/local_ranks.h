// SPDX-License-Identifier: Apache-2.0
// The ranks that run on this host: each has a process, and gets another one when that ends, after a
// pause that grows while that does not help. Thread rules: one thread at a time.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "app/ranks.h"
#include "app/restart_pause.h"

namespace braid::app {

class LocalRanks {
 public:
  // `words`: of serve, for every process.
  LocalRanks(std::vector<std::string> words, RankAddress address) : words_(std::move(words)), address_(std::move(address)) {}

  Status start(int rank);
  // A rank whose process has ended, once. It has none until restart().
  std::optional<RankProcesses::Ended> ended();
  // Starts it again after a pause, which is logged.
  void restart(const RankProcesses::Ended& ended);
  // Starts those whose pause is over.
  void look();
  // Ends the process of `rank`, if it has one; ended() will tell.
  void kill(int rank);
  // The same for good: nobody hears of it any more.
  void drop(int rank);
  // Processes that start from now on are told of so many ranks, `here` of them on this host.
  void resize(int ranks, int here);
  // A process runs for `rank`, or will after a pause.
  bool runs(int rank) const;
  // Ranks that were started and not dropped.
  std::vector<int> ranks() const;
  // Private memory of the largest process.
  std::int64_t largest_bytes() const;
  // Waits for all to end; those that have not by `timeout` are killed.
  void wait(Duration timeout) { processes_.wait(timeout); }
  // A process runs, or will.
  bool any() const;
  void wait_a_little();

 private:
  struct Local {
    pid_t pid = 0;  // 0: none
    TimePoint started{};
    std::optional<TimePoint> restart;
    RestartPause pause;
  };

  const std::vector<std::string> words_;
  std::vector<std::string> size_words_;  // behind those
  const RankAddress address_;
  RankProcesses processes_;
  std::map<int, Local> ranks_;
};

}  // namespace braid::app
