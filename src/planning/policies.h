// SPDX-License-Identifier: Apache-2.0
// Ways to decide about scale, for simulated clusters: Braid's controller, and what it is compared with.
#pragma once

#include <span>

#include "autoscale/controller.h"
#include "planning/cluster.h"

namespace braid::planning {

// Braid's own: a controller for each role of the layout. `told`, unless empty, hears every decision.
using Told = std::function<void(double now, Role role, const autoscale::ScaleDecision& decision)>;
Scaler braid_scaler(const Layout& layout, const autoscale::Objectives& objectives, const autoscale::ControllerSettings& settings, Told told = {});

// A HorizontalPodAutoscaler on the mean queue of a replica: a tolerance of 10 %, twice as many at most every
// interval, fewer only after 300 s.
Scaler hpa_queue_scaler(double queue_target, int most);

// The percentage rule of llm-d's workload variant autoscaler: one more while the mean spare cache is below 10 % of
// 80 %, or the mean spare queue below 3 of 5; one less when the others would keep that; nothing while replicas start.
Scaler saturation_scaler(int most);

// Knows every request before it comes: as many groups as keep the share `load` of their time busy, by the cost of the
// requests of the next `ahead` seconds and the last ones.
Scaler oracle_scaler(const ClusterOptions& options, std::span<const TrafficRequest> traffic, double load, double ahead);

}  // namespace braid::planning
