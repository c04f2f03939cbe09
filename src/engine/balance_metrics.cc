// SPDX-License-Identifier: Apache-2.0
#include "engine/balance_metrics.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "moe/placement/balance.h"

namespace braid::engine {
namespace {

void add_to(std::vector<double>& sums, const std::vector<double>& values) {
  sums.resize(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) sums[i] += values[i];
}

void set_all(metrics::Family<metrics::Gauge>& gauges, const std::vector<double>& values) {
  for (std::size_t i = 0; i < values.size(); ++i) gauges.with({std::to_string(i)}).set(values[i]);
}

}  // namespace

void BalanceWatch::measured(const std::vector<moe::LayerLoad>& loads) {
  if (!options_.leader) return;
  std::vector<double> ranks, experts;
  double mean = 0, most = 0;
  for (const auto& load : loads) {
    metrics_.balancedness.with({std::to_string(load.layer)}).set(moe::balancedness(load.ranks));
    add_to(ranks, load.ranks);
    add_to(experts, load.experts);
    for (const double rows : load.ranks) mean += rows / static_cast<double>(load.ranks.size());
    most += *std::max_element(load.ranks.begin(), load.ranks.end());
  }
  set_all(metrics_.rank_rows, ranks);
  set_all(metrics_.expert_rows, experts);
  if (options_.log) log_info("expert load", {{"balancedness", most > 0 ? mean / most : 1}, {"mean_rows", mean}, {"max_rows", most}});
  if (!options_.loads_file.empty()) write_file(loads);
}

void BalanceWatch::rearranged(int layers, std::uint64_t bytes, Duration time) {
  metrics_.rearrangements.add();
  metrics_.moved_layers.add(layers);
  metrics_.moved_bytes.add(static_cast<double>(bytes));
  metrics_.moving_seconds.add(to_seconds(time));
  if (options_.leader) log_info("experts rearranged", {{"layers", layers}, {"sent_bytes", bytes}, {"seconds", to_seconds(time)}});
}

void BalanceWatch::stepped(std::int64_t rows, Duration time) {
  metrics_.rows.add(static_cast<double>(rows));
  metrics_.pause.observe(to_seconds(time));
}

void BalanceWatch::stopped(const Error& error) {
  metrics_.stopped.set(1);
  log_error("expert load balancing has stopped", {{"reason", error.message}});
}

void BalanceWatch::write_file(const std::vector<moe::LayerLoad>& loads) const {
  nlohmann::ordered_json json = {{"ranks", loads.front().ranks.size()}, {"redundant", options_.redundant},
                                 {"groups", options_.groups}, {"nodes", options_.nodes}};
  for (const auto& load : loads) json["loads"].push_back(load.experts);
  std::ofstream file(options_.loads_file);
  file << json.dump() << '\n';
  if (!file.flush()) log_warning("the expert loads cannot be written", {{"file", options_.loads_file}});
}

}  // namespace braid::engine
