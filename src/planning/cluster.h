// SPDX-License-Identifier: Apache-2.0
// A cluster in simulated time: requests of a trace go through the router's own decisions to ranks that run the
// engine's own scheduler; groups of ranks step together, and a step takes as long as step_time() says.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "planning/layout.h"
#include "planning/traffic.h"
#include "router/picker_config.h"

namespace braid::planning {

struct ClusterOptions {
  ModelShape model;
  CostTable costs;
  Choices choices;
  Layout layout;
  std::optional<router::PickerConfig> picker;  // absent: prefix and queue, prefill apart where the layout has it
  double state_age = 0.05;      // seconds for which the router keeps what it has read from an endpoint
  double transfer_bandwidth = 40e9;  // of keys and values from prefill to decode, bytes a second
  double transfer_latency = 0.002;
  double startup = 90;          // seconds from the wish for a group to its first step
  double interval = 15;         // seconds between decisions about scale
  std::uint64_t seed = 0;
};

struct RequestOutcome {
  double arrival = 0;
  double first_token = -1;  // seconds from arrival; -1: never
  double token_time = 0;    // mean seconds between tokens
  bool finished = false;
};

// What is known of the groups of one role when scale is decided.
struct RoleView {
  int ready = 0, starting = 0, draining = 0;
  int ranks = 1;              // of a group
  double waiting = 0, running = 0;  // requests, over all ready groups
  double cache_use = 0;       // mean of their ranks
  double busy = 0;            // share of the interval in which they stepped
  double step_tokens = 0;     // rows computed in the interval
  double step_prompt_tokens = 0;  // of them, of prompts: without what was cached
};

struct ClusterView {
  double now = 0;
  double interval = 0;
  std::array<RoleView, kRoles> roles;
  double requests = 0;        // arrived in the interval
  double input_tokens = 0, output_tokens = 0;  // of those
  double started = 0;         // requests that had their first token in the interval
  double finished_output = 0; // tokens of the requests that ended in it
  std::vector<double> first_tokens, token_times;  // seconds, of what was observed in the interval

  const RoleView& of(Role role) const { return roles[static_cast<std::size_t>(role)]; }
};

// Wanted groups of each role; a role that is absent stays as it is.
using Targets = std::array<std::optional<int>, kRoles>;
using Scaler = std::function<Targets(const ClusterView&)>;

struct RoleOutcome {
  double group_seconds = 0;   // in which groups existed, starting ones included
  double busy_seconds = 0;
  double steps = 0, tokens = 0;
  StepTime time;              // summed
  int most = 0, least = 0;    // groups
};

struct ScalePoint {
  double at = 0;
  std::array<int, kRoles> groups{};
};

struct ClusterOutcome {
  std::vector<RequestOutcome> requests;
  std::array<RoleOutcome, kRoles> roles;
  std::vector<ScalePoint> scale;
  double seconds = 0;         // simulated
  std::int64_t cached_tokens = 0, input_tokens = 0, output_tokens = 0, preemptions = 0;

  const RoleOutcome& of(Role role) const { return roles[static_cast<std::size_t>(role)]; }
};

// `scaler` empty: the layout stays. Deterministic.
Result<ClusterOutcome> simulate(const ClusterOptions& options, std::span<const TrafficRequest> traffic, const Scaler& scaler = {});

}  // namespace braid::planning
