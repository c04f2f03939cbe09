// SPDX-License-Identifier: Apache-2.0
#include "app/rank_members.h"

#include <algorithm>
#include <utility>

#include "app/ranks.h"

namespace braid::app {

RankMembers::RankMembers(const HostRole& role, Duration silence, std::shared_ptr<RankExchange> exchange, engine::BalancedEngine& balanced)
    : role_(role), silence_(silence), exchange_(std::move(exchange)), balanced_(balanced) {
  for (int i = 0; i < role.connected.count; ++i) members_[role.connected.first + i] = {};
}

bool RankMembers::has(int rank, std::uint64_t serial) const {
  const auto found = members_.find(rank);
  return found != members_.end() && found->second.engine && found->second.serial == serial;
}

void RankMembers::connect(int rank, std::unique_ptr<fabric::Connection> connection) {
  Member& m = members_.at(rank);
  m = {.serial = ++serials_, .standing = m.standing};
  m.engine = engine::remote_engine(name_of_rank(rank), std::move(connection), silence_, RankExchange::events_of(exchange_, rank, m.serial));
  exchange_->connect(rank, m.engine);
}

void RankMembers::ready(int rank, bool in_step) {
  Member& m = members_.at(rank);
  m.ready = true;
  m.in_step = in_step;
}

void RankMembers::serve(int rank) {
  if (role_.serves(rank)) balanced_.add(rank, members_.at(rank).engine);
}

void RankMembers::serve_all() {
  for (const auto& [rank, member] : members_) serve(rank);
}

void RankMembers::disconnect(int rank) {
  if (const auto& engine = members_.at(rank).engine) engine->disconnect();
}

void RankMembers::lose(int rank, const std::string& reason) {
  Member& m = members_.at(rank);
  m.engine->disconnect();
  exchange_->forget(rank);
  lost_.push_back(std::exchange(m.engine, nullptr));
  const bool was_ready = std::exchange(m.ready, false);
  if (was_ready && m.standing == Standing::kMember) announce();
  if (was_ready && role_.serves(rank)) balanced_.lose(rank, name_of_rank(rank) + " is gone: " + reason);
}

void RankMembers::announce() {
  if (!role_.leads) return;
  std::vector<int> group;
  for (const auto& [rank, member] : members_) {
    if (member.ready && member.in_step && member.standing == Standing::kMember) group.push_back(rank);
  }
  if (!group.empty()) exchange_->leader().announce(group);
}

bool RankMembers::all_ready() const {
  return std::all_of(members_.begin(), members_.end(), [](const auto& entry) { return entry.second.ready; });
}

void RankMembers::look() {
  std::erase_if(lost_, [](const auto& engine) { return engine.use_count() == 1; });
  for (const auto& [rank, member] : members_) {
    if (member.engine && member.ready && !member.engine->stats().healthy) member.engine->disconnect();
  }
}

std::vector<int> RankMembers::absent() const {
  std::vector<int> ranks;
  for (const auto& [rank, member] : members_) {
    if (member.standing == Standing::kMember && !member.ready) ranks.push_back(rank);
  }
  return ranks;
}

std::string RankMembers::missing() const {
  std::string absent, loading, forming;
  const auto add = [](std::string& to, int rank) { to += (to.empty() ? "" : ", ") + name_of_rank(rank); };
  for (const auto& [rank, member] : members_) {
    if (!member.engine) add(absent, rank);
    else if (!member.ready) add(loading, rank);
  }
  if (!absent.empty()) return absent;
  if (!loading.empty()) return loading + (role_.leads ? " to load" : " to load and to meet the others");
  for (const int rank : exchange_->leader().forming()) add(forming, rank);
  return forming.empty() ? "" : forming + " to share memory";
}

}  // namespace braid::app
