// SPDX-License-Identifier: Apache-2.0
#include "app/ranks.h"

#include "app/engine_host.h"
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
  std::string metrics_text() override { return metrics::merge(supervisor_.metrics_texts()); }

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
  if (p.secret.empty()) {
    return invalid_argument(std::string("--headless needs the secret of the deployment in ") + kSecretVariable + ", as on the leading host");
  }
  RankProcesses processes;
  for (int i = 0; i < p.local_size(); ++i) RETURN_IF_ERROR(processes.start(p.start_rank + i, p.address, p.rpc_port, p.secret, words));
  log_info("ranks of this host started", {{"first", p.start_rank}, {"ranks", p.local_size()}, {"leader", p.address}});
  while (processes.any()) {
    const auto ended = processes.ended();
    if (!ended) {
      processes.wait_a_little();
    } else if (ended->how == RankProcesses::Ended::How::kWell) {
      log_info("a rank has ended", {{"which", ended->text}});
    } else if (ended->how == RankProcesses::Ended::How::kFailed) {
      return internal_error(ended->text + "; see its message above");
    } else {
      log_warning("a rank has ended and is started again", {{"which", ended->text}});
      processes.wait_a_little();
      RETURN_IF_ERROR(processes.start(ended->rank, p.address, p.rpc_port, p.secret, words));
    }
  }
  return Status::success();
}

}  // namespace braid::app
