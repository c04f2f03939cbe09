// SPDX-License-Identifier: Apache-2.0
#include "engine/memory_plan.h"

#include <algorithm>
#include <cstdio>
#include <string>

#include "engine/cache_size.h"

namespace braid::engine {
namespace {

std::string mib(std::int64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

std::string two_digits(double share) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f", share);
  return text;
}

Error too_large(const DeviceMemory& m, double share, std::int64_t allowed) {
  return {ErrorCode::kResourceExhausted,
          "the model takes " + mib(m.weights + m.buffers + m.graphs) + " (weights " + mib(m.weights) + ", buffers " + mib(m.buffers) + ", graphs " +
              mib(m.graphs) + "), and --gpu-memory-utilization " + two_digits(share) + " allows " + mib(allowed) + " of the GPU's " + mib(m.total) +
              ", of which " + mib(m.free) + " are free; set a larger share or a smaller --max-num-batched-tokens, or spread the experts over more GPUs "
              "(--data-parallel-size, --enable-expert-parallel)",
          "gpu-memory-utilization"};
}

}  // namespace

Result<MemoryPlan> plan_memory(const Settings& settings, const kv::Layout& layout, std::int64_t max_model_len, const DeviceMemory& m) {
  const double share = settings.cache.memory_utilization.value_or(kDeviceShare);
  MemoryPlan plan;
  plan.allowed = std::min(m.free, static_cast<std::int64_t>(share * static_cast<double>(m.total)));
  const std::int64_t left = plan.allowed - m.weights - m.buffers - m.graphs;
  const std::int64_t block = static_cast<std::int64_t>(layout.bytes_per_slot()) * settings.cache.block_size;
  if (left < block) return too_large(m, share, plan.allowed);
  Settings all_of_it = settings;
  all_of_it.cache.memory_utilization = 1.0;
  RETURN_IF_ERROR(check_cache(all_of_it, layout, max_model_len, left));
  plan.blocks = cache_blocks(all_of_it, layout, max_model_len, left);
  plan.cache = plan.blocks * block;
  plan.tokens = std::min<std::int64_t>(max_model_len, paging_of(settings, layout).longest(plan.blocks));
  return plan;
}

}  // namespace braid::engine
