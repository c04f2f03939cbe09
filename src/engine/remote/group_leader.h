// SPDX-License-Identifier: Apache-2.0
// The serving process's end of control_membership.h: announces groups and carries the collectives of
// the newest one. Collectives of an older group are dropped; its ranks give up when they hear of the
// new one.
// Thread safety: every method from any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "engine/remote/wire.h"

namespace braid::engine {

class GroupLeader {
 public:
  // Sends a frame to a rank; a rank that is gone loses it. Must not call back.
  using Send = std::function<void(int rank, FrameType type, const std::string& payload)>;
  explicit GroupLeader(Send send) : send_(std::move(send)) {}

  // A group of these ranks, ascending; not empty. Returns its generation.
  std::uint64_t announce(std::vector<int> members);
  void gather(int rank, Gather message);
  void formed(int rank, const Formed& message);

  // Members of the newest group that have not formed it.
  std::vector<int> forming() const;
  // A rank that could not form the newest group, and why; rank -1: none.
  std::pair<int, std::string> failure() const;
  std::uint64_t generation() const;

 private:
  const Send send_;
  mutable std::mutex mutex_;
  Group group_;
  std::map<int, std::string> texts_;  // of the collective at hand
  std::set<int> formed_;
  std::pair<int, std::string> failure_{-1, {}};
};

}  // namespace braid::engine
