// SPDX-License-Identifier: Apache-2.0
// What was measured on one machine, as a file of bench/costs keeps it, and the rates that explain it best.
//
// A table names the machine, the date and the commands, gives rates that benches measured by themselves, and
// the steps that `braid bench engine` timed. The rates that no bench gives are fitted to the steps. How good that
// is, each step tells that is predicted from a fit to all the others.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "planning/step_cost.h"

namespace braid::planning {

struct MeasuredStep {
  std::string name;  // model, case and size
  ModelShape model;
  RankWork work;
  double seconds = 0;
};

struct CostTable {
  std::string machine, date, source;
  Rates rates;                 // measured and fitted
  std::vector<std::string> fitted;  // names of those that were fitted
  Link node, fabric;           // links of this machine and between such machines
  std::string node_source, fabric_source;
  double memory_bytes = 0;     // for weights and cache, of one rank
  std::vector<MeasuredStep> steps;
  std::vector<double> errors;  // of each step, from a fit to the others: predicted / measured - 1

  // The error that nine of ten steps stay below.
  double error_bar() const;
};

// Errors name the file and the key. Paths of models in it are relative to its folder.
Result<CostTable> read_cost_table(const std::string& path);

// A model folder's config.json; `fp8` when its quantization says so.
Result<ModelShape> read_shape(const std::string& folder);

}  // namespace braid::planning
