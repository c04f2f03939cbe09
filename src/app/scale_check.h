// SPDX-License-Identifier: Apache-2.0
// Whether a deployment can get another number of ranks.
#pragma once

#include <cstdint>

#include "app/settings.h"
#include "base/result.h"
#include "model/config.h"

namespace braid::app {

// What is there now.
struct ScaleFacts {
  std::int64_t rank_bytes = 0;       // private memory of the largest rank; 0: not known
  std::int64_t available_bytes = 0;  // memory that new ranks could take
};

// Bounds, mode, experts and memory; an error names what is in the way and what to do.
Status check_scale(const ServeSettings& settings, const model::Config& config, int ranks, const ScaleFacts& facts);

}  // namespace braid::app
