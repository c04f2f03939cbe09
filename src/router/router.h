// SPDX-License-Identifier: Apache-2.0
// The endpoint picker: configuration in, decisions out. It opens no socket and starts no thread.
//
// The way of a request through it:
//
//   read_request -> submit -> (waits in flow control) -> Decision -> sent -> first_chunk -> done
//
// Thread rules: one thread, the event loop, calls everything here. Scraped states and KV events come
// from elsewhere as values: the caller hands the newest endpoints to each call. No call blocks; time
// comes from the clock given at the start. Accounting of a request lives exactly from sent() to
// done(), however long that is.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "router/decision.h"
#include "router/endpoint.h"
#include "router/kv_feed.h"
#include "router/metrics.h"
#include "router/picker_config.h"
#include "router/request.h"
#include "router/resources.h"

namespace braid::router {

struct RouterParts {
  const Clock* clock = nullptr;  // outlives the router
  Metrics* metrics = nullptr;    // may be null; outlives the router
  Resources resources;           // objectives and model rewrites
  std::uint64_t seed = 0;        // of random picks
  std::string name_space;        // of the endpoints, for metrics
};

// Who turns prompts into token ids: a server's render endpoints.
struct TokenSource {
  std::string url;
  std::string model;
  Duration timeout = std::chrono::seconds(5);
};

// A request that waits in flow control.
using Ticket = std::uint64_t;
// A request that an endpoint is working on.
using FlightId = std::uint64_t;

// What a router has in flight at an endpoint, as one of its inflight-load-producers counts.
struct InFlight {
  std::string producer;
  std::string endpoint;
  std::int64_t requests = 0;
  std::int64_t tokens = 0;
};

struct Settled {
  Ticket ticket = 0;
  Decision decision;  // or its refusal
};

class Router {
 public:
  static Result<std::unique_ptr<Router>> make(const PickerConfig& config, RouterParts parts);
  ~Router();
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;

  // Fills in what resources say of a request: its objective's priority. submit() does this itself;
  // before decide() it is the caller's part.
  void complete(RoutedRequest& request) const;

  // Objectives and model rewrites from now on, instead of those before.
  void replace_resources(Resources resources);

  // Decides now, past flow control. `endpoints` is the whole pool, in any order.
  Decision decide(const RoutedRequest& request, std::span<const Endpoint> endpoints);

  // Admission. Without flow control the decision comes at once; with it the request may wait, and
  // its decision comes from poll(). `request` is shared until then.
  struct Submission {
    std::optional<Decision> decision;  // at once
    Ticket ticket = 0;                 // else
  };
  Submission submit(std::shared_ptr<RoutedRequest> request, std::span<const Endpoint> endpoints);
  // One that was decided, but whose endpoint left before it answered: once more, with flow control only.
  Submission submit_again(std::shared_ptr<RoutedRequest> request, std::span<const Endpoint> endpoints);
  bool has_flow_control() const;
  // What flow control decides by now. Call it when states changed, when a request ended and at
  // next_wake().
  std::vector<Settled> poll(std::span<const Endpoint> endpoints);
  std::optional<TimePoint> next_wake() const;
  // The client has gone; nothing more is heard of the ticket.
  void cancel(Ticket ticket);
  // Refuses all that waits, and whatever comes.
  std::vector<Settled> shut_down();

  // Accounting. `decision` was made by this router and is ok().
  FlightId sent(const RoutedRequest& request, const Decision& decision);
  void first_chunk(FlightId flight);
  void chunk(FlightId flight, std::int64_t output_tokens);
  void done(FlightId flight, const ResponseFacts& facts);
  // Requests of priority < 0 in flight that should be ended with 429 for more urgent ones that wait
  // (enableEviction), lowest priority and newest first. Each is named once; the caller still calls
  // done().
  std::vector<FlightId> take_evictions();

  // Whether anything goes by what is in flight; what that is, where there is any; and what other routers
  // have, which counts in addition from now on instead of what they had before. REQUIRES: the endpoints are in the pool.
  bool counts_in_flight() const;
  std::vector<InFlight> in_flight() const;
  void set_others(std::span<const InFlight> loads);

  // Forgets an endpoint: it has left the pool.
  void remove_endpoint(std::string_view name);
  // Forgets what its cache held: its engine has started anew.
  void restarted(std::string_view name);

  // Which endpoints may publish KV events at a central socket, where topics name addresses.
  void know_places(std::span<const EndpointId> endpoints);
  // Where KV events go. Null: nothing in the configuration wants them.
  KvFeed* kv_feed();

  // Whether prompts must come as token ids (precise prefix routing), and from where.
  std::optional<TokenSource> token_source() const;

  // Signals that are configured but have never come, one sentence each: not ready while there is one.
  std::vector<std::string> missing_signals(std::span<const Endpoint> endpoints) const;

  // Sets the gauges of the pool (queue sizes, cache use, saturation).
  void observe(std::span<const Endpoint> endpoints);

  const PickerConfig& config() const;
  // Endpoint names, models and flows in use: for /debug pages.
  std::string state_json() const;

 private:
  struct Impl;
  explicit Router(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace braid::router
