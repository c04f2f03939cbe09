// SPDX-License-Identifier: Apache-2.0
#include "app/expert_balance.h"

#include "moe/layer.h"

namespace braid::app {
namespace {

// Hosts with equally many ranks each; 1 when they differ.
int nodes_of(const ParallelSettings& p) { return p.size % p.local_size() == 0 ? p.size / p.local_size() : 1; }

engine::BalanceWatchOptions watch_options(const ParallelSettings& p, int rank, const model::Config& config) {
  return {rank == 0, p.eplb.log_balancedness, p.eplb.load_file, p.eplb.num_redundant_experts, config.moe.routing.groups, nodes_of(p)};
}

moe::RebalanceOptions rebalance_options(const ParallelSettings& p, const model::Config& config) {
  moe::RebalanceOptions options;
  options.window = p.eplb.window_size;
  options.interval = p.eplb.step_interval;
  options.report_interval = p.eplb.log_balancedness ? p.eplb.log_balancedness_interval : 0;
  options.background = p.eplb.use_async;
  options.groups = config.moe.routing.groups;
  options.nodes = nodes_of(p);
  options.timeout = std::chrono::seconds(p.rank_timeout_seconds);
  return options;
}

}  // namespace

Status check_eplb(const ParallelSettings& p, const model::Config& config) {
  const int redundant = p.eplb.num_redundant_experts, slots = config.moe.experts + redundant;
  if (!p.enable_eplb) {
    if (redundant == 0) return Status::success();
    return invalid_argument("--eplb-config.num-redundant-experts " + std::to_string(redundant) +
                            " has no effect without --enable-eplb; add it", "eplb-config");
  }
  if (!p.enable_expert_parallel || p.size < 2) {
    return invalid_argument("--enable-eplb moves experts between ranks; it needs --data-parallel-size 2 or more and "
                            "--enable-expert-parallel", "enable-eplb");
  }
  if (config.moe.experts == 0) return invalid_argument("--enable-eplb: this model has no experts to balance; leave it out", "enable-eplb");
  if (slots % p.size != 0) {
    return invalid_argument("--enable-eplb: " + std::to_string(config.moe.experts) + " experts and " + std::to_string(redundant) +
                            " redundant ones cannot be divided evenly by " + std::to_string(p.size) +
                            " ranks; set --eplb-config.num-redundant-experts to " + std::to_string(redundant + p.size - slots % p.size),
                            "eplb-config");
  }
  return Status::success();
}

ExpertBalance::ExpertBalance(const ParallelSettings& settings, int rank, fabric::Transport& transport, model::Model& model, Stream& stream,
                             metrics::Registry& registry, const metrics::Labels& labels)
    : watch_(metrics_, watch_options(settings, rank, model.config())),
      rebalancer_(transport, model.mixtures(), stream, rebalance_options(settings, model.config()), watch_) {
  registry.add(metrics_, labels);
}

}  // namespace braid::app
