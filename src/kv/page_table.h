// SPDX-License-Identifier: Apache-2.0
// Where a sequence's keys and values lie: block i holds tokens [i * block_size, (i + 1) * block_size), for
// each group of layers (kv/layer_groups.h) one. A group that sees only a window or a chunk holds the blocks
// from its first to its last; entries before them name blocks that are others' by now, and are never read
// as keys.
#pragma once

#include <cstdint>
#include <vector>

#include "kv/block_pool.h"
#include "kv/layer_groups.h"

namespace braid::kv {

class PageTable {
 public:
  explicit PageTable(Paging paging) : paging_(std::move(paging)), held_(static_cast<std::size_t>(paging_.groups->size())) {}

  const Paging& paging() const { return paging_; }
  int block_size() const { return paging_.block_size; }
  int groups() const { return static_cast<int>(held_.size()); }

  // Entry [block * groups + group]. Valid until the table changes.
  const BlockId* data() const { return entries_.data(); }
  bool holds(int group, std::int32_t block) const { return block >= of(group).first && block < of(group).end; }
  // REQUIRES: holds().
  BlockId at(int group, std::int32_t block) const { return entries_[entry(group, block)]; }
  // data() for `tokens` tokens, with kNoBlock for what is not held.
  std::vector<BlockId> entries(std::int32_t tokens) const;
  // Whether all is held that the query at `position` sees, of keys before it.
  bool covers(std::int32_t position) const;
  // Cache row of the token at `position` in the first group. REQUIRES: its block is here.
  std::int32_t slot(std::int32_t position) const {
    return at(0, position / paging_.block_size) * paging_.block_size + position % paging_.block_size;
  }

  // Blocks missing to hold the tokens up to `tokens`.
  std::int32_t missing(std::int32_t tokens) const;
  // Appends blocks until the tokens up to `tokens` fit; false, and nothing changed, when too few are free.
  bool grow(BlockPool& pool, std::int32_t tokens);

  // An empty table of whose tokens the one at `position` will be the first to be computed: blocks that it
  // does not see are left out.
  void begin(std::int32_t position);
  // Appends a block, and takes over one reference to it.
  void adopt(int group, BlockId block) { append(group, block); }
  // Appends Paging::most_blocks() in all, counted from where groups begin, of a sequence of `tokens` tokens.
  // REQUIRES: they are free.
  void reserve(BlockPool& pool, std::int32_t tokens);
  // The token at `position` is the next to be computed: gives back what it and the one before it do not
  // see, and takes as many blocks further on, as far as `tokens` tokens need them.
  void slide(BlockPool& pool, std::int32_t position, std::int32_t tokens);
  // Gives all blocks back, the last first, so that a prefix outlives what follows it.
  void release(BlockPool& pool);

 private:
  struct Held {
    std::int32_t first = 0;
    std::int32_t end = 0;
  };
  const Held& of(int group) const { return held_[static_cast<std::size_t>(group)]; }
  std::size_t entry(int group, std::int32_t block) const {
    return static_cast<std::size_t>(block) * held_.size() + static_cast<std::size_t>(group);
  }
  void append(int group, BlockId block);

  Paging paging_;
  std::vector<Held> held_;  // by group
  std::vector<BlockId> entries_;
};

}  // namespace braid::kv
