// SPDX-License-Identifier: Apache-2.0
// What `auto` goes by: the cheapest backend by the bytes of the largest message of a rank (tokens of
// a dispatch times bytes of a row). Through shared memory low_latency and high_throughput are alike within
// the noise of bench/results/dispatch-zen4-2-cores.md, so the one that waits for nothing is taken. The
// boundary over a network is an estimate.
#pragma once

#include <cstddef>
#include <limits>

#include "moe/backends.h"

namespace braid::moe {

struct Cost {
  bool direct;            // stores reach the peers
  std::size_t up_to;      // bytes
  All2All cheapest;
};

inline constexpr std::size_t kAnyBytes = std::numeric_limits<std::size_t>::max();

inline constexpr Cost kCosts[] = {
    {true, kAnyBytes, All2All::kLowLatency},
    // Over a network packed rows go as one message a rank, which saves more than waiting for the counts
    // costs once there are a few.
    {false, std::size_t{64} << 10, All2All::kLowLatency},
    {false, kAnyBytes, All2All::kHighThroughput},
};

inline All2All cheapest(bool direct, std::size_t bytes) {
  for (const Cost& cost : kCosts) {
    if (cost.direct == direct && bytes <= cost.up_to) return cost.cheapest;
  }
  return All2All::kLowLatency;
}

}  // namespace braid::moe
