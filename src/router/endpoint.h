// SPDX-License-Identifier: Apache-2.0
// What requests are routed to: one data-parallel rank of one engine, and what is known of its load.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace braid::router {

// An endpoint is (address, port, rank). `name` is unique in a pool and stays the same while the
// endpoint lives; all that the router remembers is kept by it. Ranks with ports of their own are
// called "<pod>-rank-<i>"; ranks behind one port also differ in `rank`.
struct EndpointId {
  std::string name;
  std::string address;  // without brackets
  int port = 0;
  int rank = 0;

  std::string host_port() const;  // "10.0.0.1:8000", "[fd00::1]:8000"
  bool operator==(const EndpointId&) const = default;
};

using Labels = std::map<std::string, std::string, std::less<>>;

inline constexpr std::string_view kRoleLabel = "llm-d.ai/role";
inline constexpr std::string_view kEngineLabel = "llm-d.ai/engine-type";

// What the role label allows an endpoint to do.
struct Roles {
  bool prefill = false;
  bool decode = false;
  bool encode = false;
  bool labelled = false;
};
// "prefill", "decode", "encode", "prefill-decode", "both", "encode-prefill",
// "encode-prefill-decode". Without the label an endpoint decodes; an unknown role does nothing.
Roles roles_of(const Labels& labels);

// The newest values that an endpoint has reported. A value that has never been reported is absent:
// nothing takes that for "full" or for "idle". When reports fail to come, the last ones stay and
// `seen` tells how old they are.
struct EndpointState {
  std::optional<double> waiting;         // requests in the engine's queue
  std::optional<double> running;         // requests being computed
  std::optional<double> kv_usage;        // 0 to 1
  std::optional<double> running_tokens;  // tokens of running requests, if the engine tells
  int block_size = 0;                    // tokens per cache block; 0: unknown
  std::int64_t num_blocks = 0;           // cache blocks; 0: unknown
  std::vector<std::string> active_adapters;
  std::vector<std::string> waiting_adapters;
  int max_adapters = 0;
  std::map<std::string, double, std::less<>> attributes;  // custom metrics, by attribute key
  std::optional<TimePoint> seen;                          // of the newest report
};

struct Endpoint {
  EndpointId id;
  Labels labels;
  EndpointState state;

  // The value of a label, or "".
  std::string_view label(std::string_view key) const;
};

}  // namespace braid::router
