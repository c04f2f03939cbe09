// SPDX-License-Identifier: Apache-2.0
#include "router/metrics.h"

namespace braid::router {

std::vector<std::string> Metrics::request_labels(const char* more) {
  std::vector<std::string> labels{"model_name", "target_model_name", "fairness_id", "priority"};
  if (more != nullptr) labels.emplace_back(more);
  return labels;
}

std::vector<double> Metrics::size_buckets() {
  std::vector<double> bounds;
  for (double bytes = 64; bytes <= 0x1p30; bytes *= 4) bounds.push_back(bytes);
  return bounds;
}

std::vector<double> Metrics::decision_buckets() {
  return {1e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 1e-1};
}

std::vector<double> Metrics::ratio_buckets() { return {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1}; }

std::vector<double> Metrics::wait_buckets() {
  return {1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 40, 60};
}

}  // namespace braid::router
