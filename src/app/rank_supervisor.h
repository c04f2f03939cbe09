// SPDX-License-Identifier: Apache-2.0
// Keeps the ranks of a deployment together, from the serving process: starts those of this host, lets
// in those of others, announces who steps together, and brings back those that are lost.
//
//   absent -> loading (connected) -> ready (loaded) -> takes requests (when its first group is announced)
//
// A rank is lost when its connection breaks, when it gives no sign of life for --rank-timeout, or
// when its engine is dead. The others are told of a new group first; then its requests go on with
// them. A process of this host is started again, after a pause that grows while that does not help;
// a rank of another host is let in when it connects again.
// Thread safety: every method from any thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/commands.h"
#include "app/settings.h"
#include "engine/balanced_engine.h"

namespace braid::app {

class RankSupervisor {
 public:
  // `balanced` outlives it, and is given every rank.
  RankSupervisor(const ServeSettings& settings, Words words, engine::BalancedEngine& balanced);
  // Ends all ranks.
  ~RankSupervisor();

  // Starts the ranks and returns when all take requests. Says who is missing meanwhile.
  Status start();
  // Prometheus texts of the ranks that are there.
  std::vector<std::string> metrics_texts();

 private:
  class Work;
  std::unique_ptr<Work> work_;
};

}  // namespace braid::app
