// SPDX-License-Identifier: Apache-2.0
#include "app/local_ranks.h"

#include <algorithm>
#include <fstream>
#include <thread>

#include "base/log.h"

namespace braid::app {
namespace {

TimePoint now() { return std::chrono::steady_clock::now(); }

// What a process has that it does not share; 0 when that cannot be read.
std::int64_t private_bytes(pid_t pid) {
  constexpr std::int64_t kKibi = 1024;
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::int64_t kib = 0, value = 0;
  for (std::string name; status >> name;) {
    if ((name == "RssAnon:" || name == "RssShmem:") && status >> value) kib += value;
  }
  return kib * kKibi;
}

}  // namespace

Status LocalRanks::start(int rank) {
  Local& local = ranks_[rank];
  local.started = now();
  local.restart.reset();
  std::vector<std::string> words = words_;
  words.insert(words.end(), size_words_.begin(), size_words_.end());
  const auto before = std::distance(ranks_.begin(), ranks_.find(rank));  // the processes of a host count from its first rank
  words.insert(words.end(), {"--data-parallel-start-rank", std::to_string(rank - before)});
  ASSIGN_OR_RETURN(local.pid, processes_.start(rank, address_, words));
  return Status::success();
}

std::optional<RankProcesses::Ended> LocalRanks::ended() {
  while (auto ended = processes_.ended()) {
    const auto found = ranks_.find(ended->rank);
    if (found == ranks_.end() || found->second.pid != ended->pid) continue;
    found->second.pid = 0;
    return ended;
  }
  return std::nullopt;
}

void LocalRanks::restart(const RankProcesses::Ended& ended) {
  Local& local = ranks_[ended.rank];
  const Duration pause = local.pause.after_life_of(now() - local.started);
  local.restart = now() + pause;
  log_warning("a rank's process has ended and is started again", {{"which", ended.text}, {"in_seconds", to_seconds(pause)}});
}

void LocalRanks::look() {
  for (auto& [rank, local] : ranks_) {
    if (!local.restart || now() < *local.restart) continue;
    const Status started = start(rank);
    if (!started.ok()) log_error("a rank cannot be started", {{"rank", rank}, {"reason", started.error().message}});
  }
}

void LocalRanks::kill(int rank) {
  if (const auto found = ranks_.find(rank); found != ranks_.end() && found->second.pid > 0) processes_.kill(found->second.pid);
}

void LocalRanks::drop(int rank) {
  kill(rank);
  ranks_.erase(rank);
}

void LocalRanks::resize(int ranks, int here) {
  size_words_ = {"--data-parallel-size", std::to_string(ranks), "--data-parallel-size-local", std::to_string(here)};
}

bool LocalRanks::runs(int rank) const {
  const auto found = ranks_.find(rank);
  return found != ranks_.end() && (found->second.pid > 0 || found->second.restart);
}

std::vector<int> LocalRanks::ranks() const {
  std::vector<int> ranks;
  for (const auto& [rank, local] : ranks_) ranks.push_back(rank);
  return ranks;
}

std::int64_t LocalRanks::largest_bytes() const {
  std::int64_t most = 0;
  for (const auto& [rank, local] : ranks_) most = std::max(most, private_bytes(local.pid));
  return most;
}

bool LocalRanks::any() const {
  return std::any_of(ranks_.begin(), ranks_.end(), [](const auto& entry) { return entry.second.pid > 0 || entry.second.restart; });
}

void LocalRanks::wait_a_little() { std::this_thread::sleep_for(std::chrono::milliseconds(100)); }

}  // namespace braid::app
