// SPDX-License-Identifier: Apache-2.0
// Expert load balancing of a rank, by the settings.
#pragma once

#include <memory>

#include "app/settings.h"
#include "engine/balance_metrics.h"
#include "metrics/registry.h"
#include "model/model.h"
#include "moe/placement/rebalance.h"

namespace braid::app {

// Whether --enable-eplb goes with the other settings and the model.
Status check_eplb(const ParallelSettings& settings, const model::Config& config);

class ExpertBalance {
 public:
  // `transport`, `model` and its stream outlive it. Its metrics go to `registry`.
  ExpertBalance(const ParallelSettings& settings, int rank, fabric::Transport& transport, model::Model& model, Stream& stream,
                metrics::Registry& registry, const metrics::Labels& labels);

  // Has no ranks until it joins them.
  moe::Rebalancer& rebalancer() { return rebalancer_; }

 private:
  engine::BalanceMetrics metrics_;
  engine::BalanceWatch watch_;
  moe::Rebalancer rebalancer_;
};

}  // namespace braid::app
