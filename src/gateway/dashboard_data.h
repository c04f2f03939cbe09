// SPDX-License-Identifier: Apache-2.0
// What the router's dashboard shows (docs/observability.md). Thread rules: the event loop's thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "gateway/core.h"

namespace braid::gateway {

// `metrics`: the page of /metrics. `missing`: why the router is not ready.
std::string dashboard_data(const Core& core, std::string_view metrics, const std::vector<std::string>& missing, Duration uptime);

}  // namespace braid::gateway
