// SPDX-License-Identifier: Apache-2.0
#include "engine/cache_size.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "kv/host_tier.h"

namespace braid::engine {
namespace {

constexpr std::int64_t kUnknown = std::numeric_limits<std::int64_t>::max();

std::int64_t number_in(const std::string& path) {
  std::ifstream file(path);
  std::int64_t value = 0;
  return file >> value ? value : -1;
}

std::int64_t meminfo_available() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::int64_t kilobytes = 0;
  std::string unit;
  while (file >> key >> kilobytes && std::getline(file, unit)) {
    if (key == "MemAvailable:") return kilobytes * 1024;
  }
  return kUnknown;
}

std::int64_t control_group_available() {
  const std::int64_t limit = number_in("/sys/fs/cgroup/memory.max");
  const std::int64_t used = number_in("/sys/fs/cgroup/memory.current");
  return limit < 0 || used < 0 ? kUnknown : std::max<std::int64_t>(0, limit - used);
}

}  // namespace

std::int64_t available_memory(const Stream* stream) {
  if (stream && !stream->unified()) return stream->available_memory();
  return std::min(meminfo_available(), control_group_available());
}

double host_share(const Settings& settings) { return settings.cache.memory_utilization.value_or(0.5); }

kv::Layout cache_layout(const Settings& settings, const kv::Layout& of_model) {
  return settings.cache.disable_hybrid ? of_model : of_model.grouped();
}

kv::Paging paging_of(const Settings& settings, const kv::Layout& layout) {
  return {settings.cache.block_size, layout.groups, settings.scheduler.max_num_batched_tokens};
}

std::int32_t cache_blocks(const Settings& settings,
                          const kv::Layout& layout,
                          std::int64_t max_model_len,
                          std::int64_t available) {
  constexpr std::int64_t kMost = 1 << 30;
  const CacheSettings& cache = settings.cache;
  if (cache.num_blocks_override.has_value()) return std::max(1, *cache.num_blocks_override);
  const auto slot_bytes = std::max<std::int64_t>(1, static_cast<std::int64_t>(layout.bytes_per_slot()));
  const std::int64_t block_bytes = slot_bytes * cache.block_size;
  if (cache.kv_cache_memory_bytes.has_value()) {
    return static_cast<std::int32_t>(
        std::clamp<std::int64_t>(*cache.kv_cache_memory_bytes / block_bytes, 1, kMost));
  }
  const std::int64_t useful = paging_of(settings, layout).most_blocks(max_model_len) * settings.scheduler.max_num_seqs;
  const double share = host_share(settings) * static_cast<double>(available);
  const auto affordable = static_cast<std::int64_t>(share / static_cast<double>(block_bytes));
  // Slot numbers are 32 bits wide.
  const std::int64_t addressable = std::numeric_limits<std::int32_t>::max() / cache.block_size;
  return static_cast<std::int32_t>(
      std::clamp<std::int64_t>(std::min({useful, affordable, addressable}), 1, kMost));
}

Status check_cache(const Settings& settings,
                   const kv::Layout& layout,
                   std::int64_t max_model_len,
                   std::int64_t available) {
  const std::int64_t blocks = cache_blocks(settings, layout, max_model_len, available);
  const kv::Paging paging = paging_of(settings, layout);
  const std::int64_t block_bytes = static_cast<std::int64_t>(layout.bytes_per_slot()) * settings.cache.block_size;
  const std::int64_t tokens = paging.longest(blocks), bytes = blocks * block_bytes;
  if (bytes > available) {
    return invalid_argument("the key/value cache would take " + std::to_string(bytes) + " bytes, but only " + std::to_string(available) +
                                " can be taken here; set a smaller --kv-cache-memory-bytes or --num-gpu-blocks-override", "kv-cache-memory-bytes");
  }
  if (tokens >= max_model_len) return {};
  const std::int64_t needed = paging.most_blocks(max_model_len) * block_bytes;
  return invalid_argument("the key/value cache holds " + std::to_string(tokens) +
                              " tokens, less than one sequence of max-model-len " +
                              std::to_string(max_model_len) + "; set --max-model-len to at most " +
                              std::to_string(tokens) + " or --kv-cache-memory-bytes to at least " +
                              std::to_string(needed),
                          "kv-cache-memory-bytes");
}

Result<Buffer> host_tier_memory(const Settings& settings, const kv::Layout& layout, std::int32_t blocks, std::int64_t available) {
  const char* const kName = "kv-offloading-size";
  if (!settings.cache.kv_offloading_size) return Buffer();
  if (!settings.cache.enable_prefix_caching) {
    return invalid_argument("--kv-offloading-size keeps blocks of the prefix cache, which is off; leave out --no-enable-prefix-caching", kName);
  }
  const bool shared = layout.stream == nullptr || layout.stream->unified();
  const auto block = static_cast<std::int64_t>(kv::HostTier::block_bytes(layout, settings.cache.block_size));
  const std::int64_t free = available - (shared ? blocks * block : 0);
  const auto bytes = static_cast<std::int64_t>(*settings.cache.kv_offloading_size * (1 << 30));
  if (bytes < block || bytes > free) {
    return invalid_argument("--kv-offloading-size is " + std::to_string(bytes) + " bytes, but a block takes " + std::to_string(block) +
                                ", and " + std::to_string(std::max<std::int64_t>(0, free)) + " bytes are left for it; set a size between these", kName);
  }
  const auto size = static_cast<std::size_t>(bytes);
  Buffer memory = layout.stream ? layout.stream->allocate_host(size) : Buffer(size);
  if (memory.size() < size) return invalid_argument("the host has no " + std::to_string(bytes) + " bytes that copies reach; set a smaller --kv-offloading-size", kName);
  return memory;
}

}  // namespace braid::engine
