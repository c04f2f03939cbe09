// SPDX-License-Identifier: Apache-2.0
// Queues in front of the pool: one per flow (fairness id and priority), bands by priority.
//
//   dispatch := the most urgent band that has requests; if the pool is fuller than its ceiling, nobody
//               (a gated band holds back all below it); else its fairness policy names a flow, and the
//               flow's ordering a request.
//
// Bounds: requests and bytes of a band, and of all bands. A band that is full refuses with 429; when
// all bands together are full, the newest request of the least urgent band below the new one's makes
// room. Nothing waits longer than its TTL: 429, or 503 while the pool is empty.
//
// Deterministic: time and saturation come from the caller. Thread rules: one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "router/flow/policies.h"

namespace braid::router {

struct BandSettings {
  std::int64_t max_bytes = 1000000000;
  std::int64_t max_requests = 5000;
  FairnessPolicy* fairness = nullptr;
  OrderingPolicy* ordering = nullptr;
};

struct FlowSettings {
  std::int64_t max_bytes = 0;  // 0: no limit
  std::int64_t max_requests = 0;
  Duration default_ttl = std::chrono::seconds(60);  // 0: none
  Duration no_endpoint_ttl = std::chrono::seconds(60);
  BandSettings default_band;
  BandSettings default_negative_band;
  std::map<int, BandSettings> bands;
  UsageLimit* usage = nullptr;
};

class FlowControl {
 public:
  explicit FlowControl(FlowSettings settings) : settings_(std::move(settings)) {}

  struct Dropped {
    WaitingRequest waiting;
    Refusal refusal;
  };

  // Lets it wait. What that pushes out, or the request itself if there is no room, is in `dropped`.
  // False: it does not wait.
  bool enqueue(std::uint64_t ticket, std::shared_ptr<RoutedRequest> request, TimePoint now, std::vector<Dropped>& dropped);
  // The next request that may go at this saturation.
  std::optional<WaitingRequest> dispatch(double saturation, TimePoint now);
  // A round of calls of dispatch() begins.
  void next_round();
  // What has waited too long.
  std::vector<Dropped> expire(TimePoint now, bool pool_empty);
  bool cancel(std::uint64_t ticket);
  // Everything that waits.
  std::vector<Dropped> shut_down();

  std::size_t waiting() const { return by_ticket_.size(); }
  std::int64_t bytes() const { return bytes_; }
  // Waiting requests more urgent than `priority`.
  std::size_t waiting_above(int priority) const;
  std::optional<TimePoint> next_deadline(bool pool_empty) const;

  // visit(fairness id, priority, requests, bytes) for each flow that has had requests.
  void for_each_flow(const std::function<void(const std::string&, int, std::size_t, std::int64_t)>& visit) const;
  // visit(priority, share of its requests, share of its bytes) for each band that has had requests, of 0 to 1.
  void for_each_band(const std::function<void(int, double, double)>& visit) const;

 private:
  struct Flow {
    std::map<std::pair<std::int64_t, std::uint64_t>, WaitingRequest> queue;  // by key and ticket
    std::int64_t bytes = 0;
  };
  struct Band {
    BandSettings settings;
    std::map<std::string, Flow, std::less<>> flows;
    std::string last_flow;
    std::size_t requests = 0;
    std::int64_t bytes = 0;
  };
  struct Place {
    int priority;
    std::string flow;
    std::int64_t key;
  };

  Band& band(int priority);
  WaitingRequest take(std::uint64_t ticket);
  bool make_room(int priority, std::int64_t bytes, std::vector<Dropped>& dropped);
  std::optional<std::uint64_t> newest_below(int priority) const;
  std::string pick_flow(Band& band, TimePoint now);

  FlowSettings settings_;
  std::map<int, Band, std::greater<>> bands_;  // the most urgent first
  std::map<std::uint64_t, Place> by_ticket_;
  std::set<std::pair<TimePoint, std::uint64_t>> deadlines_;
  std::set<std::pair<TimePoint, std::uint64_t>> no_endpoint_deadlines_;
  std::int64_t bytes_ = 0;
};

}  // namespace braid::router
