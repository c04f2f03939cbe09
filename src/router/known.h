// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: values of endpoints, of which some may be unknown.
#pragma once

#include <span>

#include "router/decision.h"

namespace braid::router {

// values[i] = get(candidates[i]). What is unknown counts as the mean of what is known, so that an
// endpoint that has not reported is neither shunned as full nor flooded as idle.
template <class Get>
void fill_known(std::span<const EndpointIndex> candidates, std::span<double> values, Get&& get) {
  double sum = 0;
  std::size_t known = 0;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (const auto value = get(candidates[i])) {
      values[i] = *value;
      sum += *value;
      ++known;
    }
  }
  if (known == candidates.size()) return;
  const double mean = known == 0 ? 0 : sum / static_cast<double>(known);
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (!get(candidates[i])) values[i] = mean;
  }
}

}  // namespace braid::router
