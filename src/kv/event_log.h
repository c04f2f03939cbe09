// SPDX-License-Identifier: Apache-2.0
// What a cache has gained and lost since somebody last asked, in the order in which it happened. Told
// is what can be found: a block counts as stored when its hash is known from then on and every block
// before it is known too, and as removed when the last of equal content is gone there. So who follows the
// events knows a block's parent before the block.
// Thread rules: the engine thread only.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "prefix/block_hash.h"

namespace braid::kv {

// Consecutive blocks of one sequence.
// Where blocks are: with the kernels, or where kv/host_tier.h keeps them.
enum class Medium { kDevice, kHost };

// In the host's memory, where only what the device held is stored, without parent and tokens.
struct BlocksStored {
  std::vector<prefix::BlockHash> blocks;
  prefix::BlockHash parent;  // of the first; size 0: it begins a sequence
  std::vector<std::int32_t> tokens;
  std::string salt;  // of a sequence's first block
  Medium medium = Medium::kDevice;
};

struct BlocksRemoved {
  std::vector<prefix::BlockHash> blocks;
  Medium medium = Medium::kDevice;
};

struct AllBlocksCleared {};

using CacheEvent = std::variant<BlocksStored, BlocksRemoved, AllBlocksCleared>;

class EventLog {
 public:
  // `parent` of size 0 and `salt`: as in BlocksStored.
  void stored(const prefix::BlockHash& parent,
              const prefix::BlockHash& block,
              std::span<const std::int32_t> tokens,
              const std::string& salt);
  void stored_in_host(const prefix::BlockHash& block);
  void removed(const prefix::BlockHash& block, Medium medium = Medium::kDevice);
  void cleared() { events_.emplace_back(AllBlocksCleared()); }

  // The events since the last call.
  std::vector<CacheEvent> take() { return std::exchange(events_, {}); }

 private:
  std::vector<CacheEvent> events_;
};

}  // namespace braid::kv
