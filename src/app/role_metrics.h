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

class RoleMetrics {
 public:
  // `pages` are /metrics of all engines by name, as they were `now` seconds from any fixed time; one that did not answer
  // is absent. Each sample of vllm:num_requests_running counts as a replica when `ranks` is set, else each page.
  // Nothing when an engine is missing that was there before, at the first look, and when a counter went back.
  std::optional<autoscale::RoleObservation> look(double now, const std::map<std::string, std::string>& pages, int expected, bool ranks);

 private:
  struct Totals {
    double at = 0;
    double prompts = 0, outputs = 0, requests = 0;
    double token_time_sum = 0, token_times = 0;
    double prefill_sum = 0;
    std::map<double, double> first_tokens;  // by upper bound of a histogram
  };

  std::optional<Totals> before_;
};

}  // namespace braid::app
