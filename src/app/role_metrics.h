// SPDX-License-Identifier: Apache-2.0
// What the metrics of a role's engines say of the time between two looks at them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "autoscale/observation.h"
#include "metrics/samples.h"

namespace braid::app {

// What counts as a replica.
struct Replicas {
  bool ranks = false;  // each sample of vllm:num_requests_running; else so many pages:
  int pages = 1;       // a group of pods with a server for each rank has many
};

class RoleMetrics {
 public:
  // `first_token`: seconds within which requests shall have their first token.
  explicit RoleMetrics(double first_token) : first_token_(first_token) {}

  // `pages` are /metrics of all engines by name, as they were `now` seconds from any fixed time; one that did not answer
  // is absent. Nothing when fewer than `expected` answer, while no replica is whole, at the first look, and when a counter
  // went back.
  std::optional<autoscale::RoleObservation> look(double now, const std::map<std::string, std::string>& pages, int expected, Replicas replicas);

 private:
  struct Totals {
    double at = 0;
    double prompts = 0, outputs = 0, requests = 0;
    double token_time_sum = 0, token_times = 0;
    double prefill_sum = 0;
    std::map<double, double> first_tokens;  // by upper bound of a histogram
  };

  const double first_token_;
  std::optional<Totals> before_;
};

}  // namespace braid::app
