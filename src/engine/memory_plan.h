// SPDX-License-Identifier: Apache-2.0
// How the memory of a device of its own is shared out, decided before any of it is taken.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "engine/settings.h"
#include "kv/cache.h"

namespace braid::engine {

inline constexpr double kDeviceShare = 0.9;  // without --gpu-memory-utilization

struct DeviceMemory {
  std::int64_t total = 0, free = 0;
  // What the model takes whatever the cache has.
  std::int64_t weights = 0, buffers = 0, graphs = 0;
};

struct MemoryPlan {
  std::int64_t allowed = 0;  // for all of it
  std::int64_t cache = 0;    // bytes of its blocks
  std::int32_t blocks = 0;
  std::int64_t tokens = 0;   // of the longest sequence that they hold
};

// Errors, each with what would help: the model alone is too large; the blocks that are left do not hold one
// sequence of `max_model_len` tokens. `layout` as from cache_layout().
Result<MemoryPlan> plan_memory(const Settings& settings, const kv::Layout& layout, std::int64_t max_model_len, const DeviceMemory& memory);

}  // namespace braid::engine
