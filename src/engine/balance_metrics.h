// SPDX-License-Identifier: Apache-2.0
// Expert load balancing as seen from outside: metrics, a log line a measurement, and a file of loads
// for `braid bench eplb`.
#pragma once

#include <string>

#include "metrics/metrics.h"
#include "moe/placement/rebalance.h"

namespace braid::engine {

struct BalanceMetrics {
  metrics::Counter rows;
  metrics::Family<metrics::Gauge> balancedness{{"layer"}};
  metrics::Family<metrics::Gauge> rank_rows{{"rank"}};
  metrics::Family<metrics::Gauge> expert_rows{{"expert"}};
  metrics::Counter rearrangements;
  metrics::Counter moved_layers;
  metrics::Counter moved_bytes;
  metrics::Counter moving_seconds;
  metrics::Histogram pause{{1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1}};
  metrics::Gauge stopped;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.metric("braid:eplb_rows", self.rows, "Rows that the experts of this rank have computed, all layers");
    v.metric("braid:eplb_balancedness",
             self.balancedness,
             "Mean over maximum of the rows that the ranks computed in the load window, by layer; 1 at best");
    v.metric("braid:eplb_rank_rows", self.rank_rows, "Rows that a rank computed in the load window, all layers");
    v.metric("braid:eplb_expert_rows",
             self.expert_rows,
             "Rows of an expert in the load window, all layers and ranks");
    v.metric("braid:eplb_rearrangements", self.rearrangements, "Rearrangements of experts that are complete");
    v.metric("braid:eplb_moved_layers", self.moved_layers, "Layers whose experts were moved");
    v.metric("braid:eplb_moved_bytes", self.moved_bytes, "Bytes of weights that this rank sent to others");
    v.metric("braid:eplb_moving_seconds", self.moving_seconds, "Time in rearrangements, beside serving");
    v.metric("braid:eplb_pause_seconds",
             self.pause,
             "Time per step that counting loads and exchanging experts took from serving");
    v.metric("braid:eplb_stopped", self.stopped, "1 when balancing has stopped for an error, which the log tells");
  }
};

struct BalanceWatchOptions {
  bool leader = false;       // tells what all ranks know alike
  bool log = false;          // a line for every measurement
  std::string loads_file;    // written for every measurement; empty: none
  int redundant = 0;         // for the file, as are the next two
  int groups = 1;
  int nodes = 1;
};

class BalanceWatch final : public moe::RebalanceObserver {
 public:
  // `metrics` outlives it.
  BalanceWatch(BalanceMetrics& metrics, BalanceWatchOptions options) : metrics_(metrics), options_(std::move(options)) {}

  void measured(const std::vector<moe::LayerLoad>& loads) override;
  void rearranged(int layers, std::uint64_t bytes, Duration time) override;
  void stepped(std::int64_t rows, Duration time) override;
  void stopped(const Error& error) override;

 private:
  void write_file(const std::vector<moe::LayerLoad>& loads) const;

  BalanceMetrics& metrics_;
  const BalanceWatchOptions options_;
};

}  // namespace braid::engine
