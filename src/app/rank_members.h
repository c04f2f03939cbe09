// SPDX-License-Identifier: Apache-2.0
// The ranks that a serving process is concerned with, as far as each has come:
//
//   absent -> loading (connected) -> ready -> serving (gets requests)
//
// A rank is ready for the leader when it has loaded its model, and for another process when it has
// also formed its first group. A rank that joins or leaves is in no group that is announced.
// Thread rules: one thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "app/host_role.h"
#include "app/rank_exchange.h"
#include "engine/balanced_engine.h"

namespace braid::app {

class RankMembers {
 public:
  // After its Ready, a rank that sends nothing for `silence` is lost. `balanced` outlives it.
  RankMembers(const HostRole& role, Duration silence, std::shared_ptr<RankExchange> exchange, engine::BalancedEngine& balanced);

  bool knows(int rank) const { return members_.contains(rank); }
  bool connected(int rank) const { return members_.at(rank).engine != nullptr; }
  bool is_ready(int rank) const { return members_.at(rank).ready; }
  bool is_member(int rank) const { return members_.at(rank).standing == Standing::kMember; }
  // Of the connection that the rank has now.
  bool has(int rank, std::uint64_t serial) const;

  void connect(int rank, std::unique_ptr<fabric::Connection> connection);
  // `in_step`: it steps together with others, in groups.
  void ready(int rank, bool in_step);
  // It gets requests from now on.
  void serve(int rank);
  // Breaks with it; an event will tell that it is lost.
  void disconnect(int rank);
  // Its connection is gone. A group without it is announced first, then its requests go on elsewhere.
  void lose(int rank, const std::string& reason);

  // A rank that may connect, in order to join.
  void expect(int rank) { members_[rank] = {.standing = Standing::kJoining}; }
  // It belongs to the deployment from now on.
  void admit(int rank) { members_.at(rank).standing = Standing::kMember; }
  // It leaves.
  void let_go(int rank) { members_.at(rank).standing = Standing::kLeaving; }
  // It has left.
  void forget(int rank) { members_.erase(rank); }

  // Tells who steps together from now on: all members that are ready.
  void announce();
  bool all_ready() const;
  // Breaks with ranks whose engine is dead, and forgets lost ones that nobody uses any more.
  void look();
  // Whom the start waits for: "rank 2 to load"; empty: nobody.
  std::string missing() const;
  void serve_all();
  // Members that take no requests now.
  std::vector<int> absent() const;

 private:
  enum class Standing { kMember, kJoining, kLeaving };
  struct Member {
    std::shared_ptr<engine::RemoteEngine> engine;  // null: absent
    std::uint64_t serial = 0;
    bool ready = false;
    bool in_step = false;
    Standing standing = Standing::kMember;
  };

  const HostRole role_;
  const Duration silence_;
  const std::shared_ptr<RankExchange> exchange_;
  engine::BalancedEngine& balanced_;
  std::map<int, Member> members_;
  std::vector<std::shared_ptr<engine::RemoteEngine>> lost_;  // until nobody uses them
  std::uint64_t serials_ = 0;
};

}  // namespace braid::app
