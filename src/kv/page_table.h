// SPDX-License-Identifier: Apache-2.0
// Where a sequence's keys and values lie: block i holds tokens [i * block_size, (i + 1) * block_size).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv/block_pool.h"

namespace braid::kv {

class PageTable {
 public:
  explicit PageTable(int block_size) : block_size_(block_size) {}

  int block_size() const { return block_size_; }
  std::span<const BlockId> blocks() const { return blocks_; }
  // Valid until the table changes.
  const BlockId* data() const { return blocks_.data(); }
  // Cache row of the token at `position`. REQUIRES: its block is here.
  std::int32_t slot(std::int32_t position) const {
    return blocks_[static_cast<std::size_t>(position / block_size_)] * block_size_ +
           position % block_size_;
  }

  // Blocks missing to hold `tokens` tokens.
  std::int32_t missing(std::int32_t tokens) const;
  // Appends blocks until `tokens` tokens fit; false, and nothing changed, when too few are free.
  bool grow(BlockPool& pool, std::int32_t tokens);
  // Appends a block that exists already.
  void share(BlockPool& pool, BlockId block);
  // Gives all blocks back, the last first, so that a prefix outlives what follows it.
  void release(BlockPool& pool);

 private:
  int block_size_;
  std::vector<BlockId> blocks_;
};

}  // namespace braid::kv
