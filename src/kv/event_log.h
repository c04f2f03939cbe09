// SPDX-License-Identifier: Apache-2.0
// What a cache has gained and lost since somebody last asked, in the order in which it happened. Told
// is what can be found: a block counts as stored when its hash is known from then on and every block
// before it is known too, and as removed when the last of equal content is gone. So who follows the
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
struct BlocksStored {
  std::vector<prefix::BlockHash> blocks;
  prefix::BlockHash parent;  // of the first; size 0: it begins a sequence
  std::vector<std::int32_t> tokens;
  std::string salt;  // of a sequence's first block
};

struct BlocksRemoved {
  std::vector<prefix::BlockHash> blocks;
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
  void removed(const prefix::BlockHash& block);
  void cleared() { events_.emplace_back(AllBlocksCleared()); }

  // The events since the last call.
  std::vector<CacheEvent> take() { return std::exchange(events_, {}); }

 private:
  std::vector<CacheEvent> events_;
};

}  // namespace braid::kv
