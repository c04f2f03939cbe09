// SPDX-License-Identifier: Apache-2.0
// What flow control asks: how full the pool is, how full it may be for a band, whose turn it is.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "router/plugin.h"

namespace braid::router {

struct WaitingRequest {
  std::uint64_t ticket = 0;  // ascending in order of arrival
  std::shared_ptr<RoutedRequest> request;
  TimePoint enqueued{};
  std::optional<TimePoint> deadline;              // while there are endpoints
  std::optional<TimePoint> no_endpoint_deadline;  // while there are none
  std::int64_t bytes = 0;
};

// Whose turn it is within a flow: the smallest key, then the oldest.
class OrderingPolicy {
 public:
  virtual ~OrderingPolicy() = default;
  virtual std::int64_t key(const WaitingRequest& waiting) const = 0;
};

// Whose turn it is among the flows of a band.
class FairnessPolicy {
 public:
  struct Flow {
    const std::string* id = nullptr;
    const WaitingRequest* head = nullptr;
    std::int64_t key = 0;  // of the head, by the ordering
  };
  virtual ~FairnessPolicy() = default;
  // The place in `flows` (ascending by id, never empty). `last` is the flow served before in this band.
  virtual std::size_t pick(std::span<const Flow> flows, const std::string& last, TimePoint now) = 0;
};

// Up to which saturation a band may dispatch.
class UsageLimit {
 public:
  struct Band {
    std::size_t rank = 0;  // 0: the most urgent
    std::size_t count = 1;
    int priority = 0;
    int highest = 0;
    int lowest = 0;
  };
  virtual ~UsageLimit() = default;
  virtual double ceiling(const Band& band, double saturation) = 0;
  // A round of dispatching begins.
  virtual void next_round() {}
};

// What has been decided and not yet been sent, and so is in nobody's count.
struct Underway {
  std::int64_t requests = 0;
  std::int64_t tokens = 0;
};

// How full the pool is: 1 and more is full.
class SaturationDetector {
 public:
  virtual ~SaturationDetector() = default;
  // `places`: those of `endpoints` that count. REQUIRES: not empty.
  virtual double saturation(std::span<const Endpoint> endpoints,
                            std::span<const Slot> slots,
                            std::span<const EndpointIndex> places,
                            const Underway& underway) const = 0;
  // How many of `endpoints` report too seldom for its taste; it goes by their last values all the same.
  virtual int stale(std::span<const Endpoint> endpoints, TimePoint now) const { return 0; }
};

struct StageSaturation {
  double prefill = 0;  // 0 if no endpoint prefills only
  double decode = 0;
  double effective() const { return prefill > decode ? prefill : decode; }
};
// Both stages of a pool; 1 for a pool without endpoints.
StageSaturation saturation_of(const SaturationDetector& detector,
                              std::span<const Endpoint> endpoints,
                              std::span<const Slot> slots,
                              const Underway& underway);

// Refuses requests of priority < 0 at random, the more often the fuller the pool is.
class Admitter {
 public:
  virtual ~Admitter() = default;
  // Why not, or nothing.
  virtual std::optional<Refusal> refuses(const RoutedRequest& request, double saturation, Random& random) = 0;
};

}  // namespace braid::router
