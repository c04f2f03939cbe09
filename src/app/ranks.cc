// SPDX-License-Identifier: Apache-2.0
#include "app/ranks.h"

#include "app/engine_host.h"
#include "app/local_ranks.h"
#include "app/rank_supervisor.h"
#include "base/log.h"
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

Status run_headless(const ServeSettings& settings, Words words) {
  const ParallelSettings& p = settings.parallel;
  LocalRanks ranks({words.begin(), words.end()}, {p.address, p.rpc_port, 0, p.secret});
  for (int i = 0; i < p.local_size(); ++i) RETURN_IF_ERROR(ranks.start(p.start_rank + i));
  log_info("ranks of this host started", {{"first", p.start_rank}, {"ranks", p.local_size()}, {"leader", p.address}});
  while (ranks.any()) {
    const auto ended = ranks.ended();
    if (!ended) {
      ranks.look();
      ranks.wait_a_little();
    } else if (ended->how == RankProcesses::Ended::How::kWell) {
      log_info("a rank has ended", {{"which", ended->text}});
    } else if (ended->how == RankProcesses::Ended::How::kFailed) {
      return internal_error(ended->text + "; see its message above");
    } else {
      ranks.restart(*ended);
    }
  }
  return Status::success();
}

}  // namespace braid::app
