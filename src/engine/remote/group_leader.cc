// SPDX-License-Identifier: Apache-2.0
#include "engine/remote/group_leader.h"

#include <algorithm>

namespace braid::engine {

std::uint64_t GroupLeader::announce(std::vector<int> members) {
  std::lock_guard lock(mutex_);
  ++group_.generation;
  group_.members.assign(members.begin(), members.end());
  texts_.clear();
  formed_.clear();
  failure_ = {-1, {}};
  for (const int rank : group_.members) send_(rank, FrameType::kGroup, to_bytes(group_));
  return group_.generation;
}

void GroupLeader::gather(int rank, Gather message) {
  std::lock_guard lock(mutex_);
  if (message.generation != group_.generation) return;
  texts_[rank] = std::move(message.text);
  if (texts_.size() < group_.members.size()) return;
  Gathered all{group_.generation, {}};
  for (auto& [member, text] : texts_) all.texts.push_back(std::move(text));
  texts_.clear();
  for (const int member : group_.members) send_(member, FrameType::kGathered, to_bytes(all));
}

void GroupLeader::formed(int rank, const Formed& message) {
  std::lock_guard lock(mutex_);
  if (message.generation != group_.generation) return;
  if (message.error.empty()) formed_.insert(rank);
  else if (failure_.first < 0) failure_ = {rank, message.error};
}

std::vector<int> GroupLeader::forming() const {
  std::lock_guard lock(mutex_);
  std::vector<int> left;
  for (const int rank : group_.members) {
    if (!formed_.contains(rank)) left.push_back(rank);
  }
  return left;
}

std::pair<int, std::string> GroupLeader::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

std::uint64_t GroupLeader::generation() const {
  std::lock_guard lock(mutex_);
  return group_.generation;
}

}  // namespace braid::engine
