// SPDX-License-Identifier: Apache-2.0
// Requests over time: those of a recorded trace, or Poisson arrivals of one shape.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace braid::planning {

inline constexpr int kTraceBlock = 512;  // tokens of a prompt that one id names

struct TrafficRequest {
  double arrival = 0;  // seconds
  int input = 0, output = 0;  // tokens
  std::vector<std::uint64_t> blocks;  // equal ids at equal places: equal prompts up to there
};

// JSON lines of the Mooncake project: {"timestamp": ms, "input_length", "output_length", "hash_ids"}, one id for
// each kTraceBlock tokens. `speed` divides the times. Errors name the line.
Result<std::vector<TrafficRequest>> read_trace(const std::string& path, double speed);

struct PoissonTraffic {
  double rate = 1;  // requests a second
  double seconds = 60;
  int input = 1024, output = 256;
  std::uint64_t seed = 0;
};
std::vector<TrafficRequest> poisson_traffic(const PoissonTraffic& traffic);

// Groups of users share the beginning of their prompts; every request goes on with a question of its own. Arrivals
// are Poisson, at a rate that rises from rung to rung.
struct LadderTraffic {
  std::vector<double> rates;  // requests a second of each rung
  double rung_seconds = 8;
  int groups = 150;
  int shared = 12 * kTraceBlock, own = 1024, output = 64;  // tokens; shared: whole blocks of kTraceBlock
  std::uint64_t seed = 0;
};
std::vector<TrafficRequest> ladder_traffic(const LadderTraffic& ladder);

// The same requests, but `factor` times as dense for `seconds` from `begin` on: each is sent so often, with a
// prompt of its own; a fraction of them where the factor is no whole number.
std::vector<TrafficRequest> with_burst(const std::vector<TrafficRequest>& requests, double begin, double seconds, double factor);

}  // namespace braid::planning
