// SPDX-License-Identifier: Apache-2.0
// Who holds which block of the key/value cache, and which blocks have content worth reusing.
//
// A block is *used* while somebody references it and *free* otherwise. A free block keeps its
// content and, if it has one, its hash, until it is the least recently freed one and is allocated
// anew; until then acquire() brings it back. Blocks of equal content are not merged: all are kept
// under their hash, and find() returns the one that was named first. Blocks of different groups of layers
// (kv/layer_groups.h) have different content, though their tokens and so their hashes are equal; the log is
// told of the first group.
// Thread rules: the engine thread only. Every operation takes constant time.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "kv/event_log.h"
#include "kv/host_tier.h"
#include "prefix/block_hash.h"

namespace braid::kv {

using BlockId = std::int32_t;
inline constexpr BlockId kNoBlock = -1;

class BlockPool {
 public:
  // `log` and `tier` outlive the pool. The log is told what can no longer be found, null: nobody listens; the tier
  // gets what is about to be overwritten, null: there is none.
  explicit BlockPool(std::int32_t num_blocks, EventLog* log = nullptr, HostTier* tier = nullptr);

  std::int32_t total() const { return static_cast<std::int32_t>(blocks_.size()); }
  std::int32_t free() const { return free_; }
  std::int32_t used() const { return total() - free_; }
  std::int32_t cached() const { return cached_; }  // free, but with a hash

  // A block with one reference and no hash: the least recently freed one. kNoBlock if none is free.
  BlockId allocate();
  // One more reference; a free block leaves the free list with its content.
  void acquire(BlockId block);
  // One reference less; without any the block is free, and the last to be reused.
  void release(BlockId block);
  std::int32_t references(BlockId block) const { return at(block).references; }

  // Declares the used block's content complete and known by `hash` in its group. True when no other block was.
  // REQUIRES: the block has no hash yet.
  bool name(BlockId block, const prefix::BlockHash& hash, int group = 0);
  bool named(BlockId block) const { return at(block).named; }
  BlockId find(const prefix::BlockHash& hash, int group = 0) const;
  HostTier* tier() const { return tier_; }

  // Forgets the hash of every free block, and of used ones and those in the tier as well, so that nothing stored so far
  // is found again.
  void forget_hashes();
  // How often that happened.
  std::uint64_t forgotten() const { return forgotten_; }

  // The free blocks from the next to be reused to the last.
  std::vector<BlockId> free_list() const;

 private:
  struct Block {
    prefix::BlockHash hash;
    bool named = false;
    int group = 0;  // with a hash
    std::int32_t references = 0;
    BlockId previous = kNoBlock;  // in the free list
    BlockId next = kNoBlock;
    BlockId older_twin = kNoBlock;  // blocks under one hash, in order of naming
    BlockId newer_twin = kNoBlock;
  };

  Block& at(BlockId block) { return blocks_[static_cast<std::size_t>(block)]; }
  const Block& at(BlockId block) const { return blocks_[static_cast<std::size_t>(block)]; }
  void append_free(BlockId block);
  void remove_free(BlockId block);
  void forget_hash(BlockId block);
  void last_gone(BlockId block);

  std::vector<Block> blocks_;
  EventLog* const log_;
  HostTier* const tier_;
  BlockId first_free_ = kNoBlock;
  BlockId last_free_ = kNoBlock;
  std::int32_t free_ = 0;
  std::int32_t cached_ = 0;
  struct Twins {
    BlockId oldest;
    BlockId newest;
  };
  std::vector<std::unordered_map<prefix::BlockHash, Twins, prefix::BlockHashHasher>> by_hash_;  // by group
  std::uint64_t forgotten_ = 0;
};

}  // namespace braid::kv
