// SPDX-License-Identifier: Apache-2.0
// Keeps the ranks of a serving process together (app/host_role.h says which): starts those of its own
// processes, lets in those of others, announces who steps together if it leads, and brings back those
// that are lost.
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
#include "serve/deployment.h"

namespace braid::app {

class RankSupervisor final : public serve::Deployment {
 public:
  // `balanced` outlives it, and is given every rank that this process serves.
  RankSupervisor(const ServeSettings& settings, Words words, engine::BalancedEngine& balanced);
  // Ends all ranks.
  ~RankSupervisor() override;

  // Starts the ranks and returns when all take requests. Says who is missing meanwhile. A group that
  // cannot be formed is tried again for a while.
  Status start();
  // Prometheus texts of the served ranks that are there.
  std::vector<std::string> metrics_texts();
  // And what they did lately, as events of base/timeline.h.
  std::vector<std::string> timelines();

  serve::DeploymentState state() const override;
  // Refuses what app/scale_check.h refuses; app/rank_scaling.h tells how the rest is done.
  void scale(int ranks, Duration drain, std::function<void(const Status&)> done) override;

 private:
  class Work;
  std::unique_ptr<Work> work_;
};

}  // namespace braid::app
