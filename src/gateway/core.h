// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: what all exchanges of a gateway share.
// Thread rules: the event loop's thread only.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "gateway/decision_log.h"
#include "gateway/endpoint_pool.h"
#include "gateway/journey.h"
#include "gateway/metrics.h"
#include "gateway/settings.h"
#include "net/client_pool.h"
#include "net/event_loop.h"
#include "router/router.h"

namespace braid::gateway {

class Passage;

struct Core {
  const RouteSettings settings;
  std::shared_ptr<net::EventLoop> loop;
  std::unique_ptr<net::ClientPool> upstream;
  std::unique_ptr<router::Router> router;
  std::optional<router::TokenSource> token_source;  // the router's
  std::unique_ptr<EndpointPool> endpoints;
  Metrics metrics;
  router::Metrics router_metrics;
  SteadyClock clock;
  DecisionLog decisions;
  tracing::Metrics trace_metrics;
  std::unique_ptr<tracing::Tracer> tracer;  // null: no traces
  JourneyLog journeys;
  bool draining = false;

  std::unordered_map<router::Ticket, std::shared_ptr<Passage>> waiting;    // in flow control
  std::unordered_map<router::FlightId, std::weak_ptr<Passage>> in_flight;  // sent to a server

  explicit Core(RouteSettings s) : settings(std::move(s)), decisions(static_cast<std::size_t>(settings.decision_history)) {}

  // Lets the router look again at what waits: soon, and once for many calls.
  void poll_soon();
  void poll();

 private:
  void wake_at(TimePoint when);
  bool poll_posted_ = false;
  TimePoint wake_ = TimePoint::max();
};

// Ids that are new in all processes: 32 hex digits.
std::string new_request_id();

// Limits of a call to `id`, with the settings' deadlines.
net::PoolRequest request_to(const router::EndpointId& id, const HttpSettings& settings);

}  // namespace braid::gateway
