// SPDX-License-Identifier: Apache-2.0
// How near two endpoints are to each other, by their labels.
#pragma once

#include <string_view>

#include "router/endpoint.h"

namespace braid::router {

inline constexpr std::string_view kHostLabel = "kubernetes.io/hostname";
inline constexpr std::string_view kRackLabel = "topology.kubernetes.io/rack";
inline constexpr std::string_view kZoneLabel = "topology.kubernetes.io/zone";
inline constexpr std::string_view kRegionLabel = "topology.kubernetes.io/region";

// Same host (label or address) 1.0, rack 0.20, zone 0.05, region 0.02, else 0.
double nearness(const Endpoint& a, const Endpoint& b);

}  // namespace braid::router
