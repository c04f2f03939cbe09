// SPDX-License-Identifier: Apache-2.0
#include "app/local_ranks.h"

#include <algorithm>
#include <thread>

#include "base/log.h"

namespace braid::app {
namespace {

TimePoint now() { return std::chrono::steady_clock::now(); }

}  // namespace

Status LocalRanks::start(int rank) {
  Local& local = ranks_[rank];
  local.started = now();
  local.restart.reset();
  ASSIGN_OR_RETURN(local.pid, processes_.start(rank, address_, words_));
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

bool LocalRanks::any() const {
  return std::any_of(ranks_.begin(), ranks_.end(), [](const auto& entry) { return entry.second.pid > 0 || entry.second.restart; });
}

void LocalRanks::wait_a_little() { std::this_thread::sleep_for(std::chrono::milliseconds(100)); }

}  // namespace braid::app
