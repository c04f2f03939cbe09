// SPDX-License-Identifier: Apache-2.0
// Whether a deployment can get another number of ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/settings.h"
#include "base/result.h"
#include "model/config.h"

namespace braid::app {

// What is there now.
struct ScaleFacts {
  std::int64_t rank_bytes = 0;       // private memory of the largest rank; 0: not known
  struct Host {
    std::string name;
    int ranks = 0;
    std::int64_t available_bytes = 0;  // memory that new ranks could take
    bool there = true;                 // connected
  };
  std::vector<Host> hosts;
};

// Hosts for `more` ranks, one after the other on the host with the fewest ranks that has memory for one; an
// error says how much there is.
Result<std::vector<std::size_t>> place_ranks(int more, ScaleFacts facts);

// Bounds, mode, experts and memory; an error names what is in the way and what to do.
Status check_scale(const ServeSettings& settings, const model::Config& config, int ranks, const ScaleFacts& facts);

}  // namespace braid::app
