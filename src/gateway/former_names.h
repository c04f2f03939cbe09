// SPDX-License-Identifier: Apache-2.0
// What the Gateway API inference extension and llm-d's scheduler called their metrics before they were llm_d_epp_*.
#pragma once

#include <string>

#include "metrics/registry.h"

namespace braid::gateway {

// REQUIRES: the metrics of router and gateway are in the registry. `pool` may be empty: no label tells it.
void add_former_names(metrics::Registry& registry, const std::string& pool);

}  // namespace braid::gateway
