// SPDX-License-Identifier: Apache-2.0
// Changes the number of ranks while they serve, by what survival is made of.
//
//   to grow:    new ranks load -> a group with them is formed -> they get requests
//   to shrink:  leaving ranks get no new requests until they have none left or the drain is over -> a
//               group without them -> what requests they still have go on elsewhere
//
// Ranks join and leave at the end of the numbers, on this host or on others (app/rank_hosts.h). When one that joins is lost, or all is not done by a
// deadline, the new ranks are let go and the others go on as before.
// Thread rules: one thread, the supervising one.
#pragma once

#include <functional>
#include <string>

#include "app/rank_hosts.h"
#include "app/rank_members.h"
#include "engine/balanced_engine.h"

namespace braid::app {

class RankScaling {
 public:
  struct Parts {
    RankMembers& members;
    RankHosts& hosts;
    engine::BalancedEngine& balanced;
    engine::GroupLeader& leader;
    std::function<void(int ranks)> resize;  // so many ranks belong to the deployment from now on
    Duration patience;                      // for ranks to load and for groups to form
  };
  explicit RankScaling(Parts parts) : parts_(std::move(parts)) {}

  // `done` hears once how it ended. Only one at a time.
  void begin(int from, int to, Duration drain, std::function<void(const Status&)> done);
  bool running() const { return phase_ != Phase::kNone; }
  bool forming() const { return phase_ == Phase::kForming; }
  // It joins or leaves, so that its loss is no accident of the deployment.
  bool concerns(int rank) const { return running() && rank >= std::min(from_, to_) && rank < std::max(from_, to_); }
  // A rank that joins will not come, or a rank cannot form the group.
  void failed(const std::string& reason);
  void look();

 private:
  enum class Phase { kNone, kLoading, kForming, kDraining, kLeaving };

  void load();
  void form();
  void drain();
  void leave();
  void undo(const std::string& reason);
  void part(int first, int end);
  void finish(const Status& status);
  bool late() const;

  const Parts parts_;
  Phase phase_ = Phase::kNone;
  int from_ = 0;
  int to_ = 0;
  TimePoint deadline_{};
  std::string failure_;
  Status result_;
  std::function<void(const Status&)> done_;
};

}  // namespace braid::app
