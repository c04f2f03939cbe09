// SPDX-License-Identifier: Apache-2.0
#include "prefix/hash_chain.h"

namespace braid::prefix {

void HashChain::extend(std::span<const std::int32_t> tokens) {
  while ((blocks_.size() + 1) * block_size_ <= tokens.size()) {
    const bool first = blocks_.empty();
    const BlockHash parent = first ? hasher_->none() : blocks_.back();
    blocks_.push_back(hasher_->hash(parent,
                                    tokens.subspan(blocks_.size() * block_size_, block_size_),
                                    first ? std::string_view(salt_) : std::string_view()));
  }
}

}  // namespace braid::prefix
