// SPDX-License-Identifier: Apache-2.0
// How many blocks the key/value cache gets.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "engine/settings.h"
#include "kv/cache.h"

namespace braid::engine {

// Bytes that a cache could take now: of the stream's own memory, else of RAM, the limits of control
// groups counted.
std::int64_t available_memory(const Stream* stream = nullptr);

// Of the host's free memory that a cache may take.
double host_share(const Settings& settings);

// The model's, with the groups of layers that the settings want.
kv::Layout cache_layout(const Settings& settings, const kv::Layout& of_model);
// How sequences lie in such a cache.
kv::Paging paging_of(const Settings& settings, const kv::Layout& layout);

// num-gpu-blocks-override, else what kv-cache-memory-bytes holds, else as many as max-num-seqs
// sequences of `max_model_len` tokens can use, within the share of `available` bytes. At least one. `layout`
// as from cache_layout(), here and below.
std::int32_t cache_blocks(const Settings& settings,
                          const kv::Layout& layout,
                          std::int64_t max_model_len,
                          std::int64_t available);

// An error when the cache is larger than what is available, and one with the number that would fit
// when it cannot hold one sequence of `max_model_len` tokens. To be asked before start(), which would silently serve shorter ones.
Status check_cache(const Settings& settings,
                   const kv::Layout& layout,
                   std::int64_t max_model_len,
                   std::int64_t available);

// Memory for blocks that the cache has no room for (kv/host_tier.h), as much as --kv-offloading-size says; empty
// without it. `available`: of the host, for the cache of `blocks` blocks too when its kernels use the same memory.
Result<Buffer> host_tier_memory(const Settings& settings, const kv::Layout& layout, std::int32_t blocks, std::int64_t available);

}  // namespace braid::engine
