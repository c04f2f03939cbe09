// SPDX-License-Identifier: Apache-2.0
#include "app/ranks.h"

#include "app/engine_host.h"
#include "app/rank_supervisor.h"
#include "metrics/merge.h"

namespace braid::app {
namespace {

class Ranks final : public EngineHost {
 public:
  Ranks(const ServeSettings& settings, Words words) : supervisor_(settings, words, *balanced_) {}
  Status start() { return supervisor_.start(); }
  engine::Engine& engine() override { return *balanced_; }
  serve::Deployment* deployment() override { return &supervisor_; }
  std::string metrics_text() override { return metrics::merge(supervisor_.metrics_texts()); }
  std::string timeline() override { return trace_file(supervisor_.timelines()); }

 private:
  const std::unique_ptr<engine::BalancedEngine> balanced_ = engine::balanced_engine();
  RankSupervisor supervisor_;
};

}  // namespace

Result<std::unique_ptr<EngineHost>> start_ranks(const ServeSettings& settings, Words words) {
  auto ranks = std::make_unique<Ranks>(settings, words);
  RETURN_IF_ERROR(ranks->start());
  return std::unique_ptr<EngineHost>(std::move(ranks));
}

}  // namespace braid::app
