// SPDX-License-Identifier: Apache-2.0
// What a simulation gave, in the figures that a layout is chosen by.
#pragma once

#include <string>
#include <vector>

#include "planning/cluster.h"

namespace braid::planning {

struct Objectives {
  double first_token = 2.0;  // seconds
  double token_time = 0.05;
};

struct Summary {
  double requests_per_s = 0, output_per_s = 0, output_per_rank_s = 0;
  double hit_rate = 0;
  double first_token[3] = {};  // p50, p90, p99; seconds
  double token_time[3] = {};
  double attainment = 0;       // share of requests that met both objectives
  double rank_hours = 0;
  Resource limit = Resource::kFixed;  // of the busiest role
  Role busiest = Role::kBoth;
  double busiest_share = 0;    // of the time in which its groups stepped
};

Summary summarize(const ClusterOutcome& outcome, const Layout& layout, const Objectives& objectives);

double percentile(std::vector<double> values, double share);

// How the simulated step times of a layout of decode groups grow with the width of expert parallelism.
struct Projection {
  int ranks = 0;
  int batch = 0;      // sequences on each rank
  double context = 0;
  bool overlapped = false;
  StepTime time;
  double weight_bytes = 0;     // on each rank
  double cache_tokens = 0;     // that fit beside them
  bool fits = false;
  double tokens_per_s = 0;     // of one rank
};

// One decode step of each width; `batch` is lowered to what the cache holds.
std::vector<Projection> project(const ModelShape& model, const CostTable& costs, const Choices& choices, const std::vector<int>& widths, int batch,
                                double context);

}  // namespace braid::planning
