// SPDX-License-Identifier: Apache-2.0
// The block hashes of one growing sequence.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "prefix/block_hash.h"

namespace braid::prefix {

class HashChain {
 public:
  // `hasher` outlives the chain. `salt` separates this sequence's blocks from those of others.
  HashChain(BlockHasher* hasher, int block_size, std::string salt)
      : hasher_(hasher), block_size_(static_cast<std::size_t>(block_size)), salt_(std::move(salt)) {}

  // Hashes the blocks that `tokens`, the whole sequence so far, has filled since the last call.
  // REQUIRES: `tokens` only grew.
  void extend(std::span<const std::int32_t> tokens);

  const std::string& salt() const { return salt_; }
  // One hash per full block.
  std::span<const BlockHash> blocks() const { return blocks_; }

 private:
  BlockHasher* hasher_;
  std::size_t block_size_;
  std::string salt_;
  std::vector<BlockHash> blocks_;
};

}  // namespace braid::prefix
