// SPDX-License-Identifier: Apache-2.0
#include "kv/block_pool.h"

#include "base/check.h"

namespace braid::kv {

BlockPool::BlockPool(std::int32_t num_blocks, EventLog* log, HostTier* tier)
    : blocks_(static_cast<std::size_t>(num_blocks)), log_(log), tier_(tier) {
  for (BlockId block = 0; block < num_blocks; ++block) append_free(block);
}

BlockId BlockPool::allocate() {
  const BlockId block = first_free_;
  if (block == kNoBlock) return kNoBlock;
  remove_free(block);
  if (at(block).named) forget_hash(block);
  at(block).references = 1;
  return block;
}

void BlockPool::acquire(BlockId block) {
  if (at(block).references == 0) remove_free(block);
  ++at(block).references;
}

void BlockPool::release(BlockId block) {
  CHECK(at(block).references > 0, "a block was released more often than acquired");
  if (--at(block).references == 0) append_free(block);
}

bool BlockPool::name(BlockId block, const prefix::BlockHash& hash, int group) {
  Block& b = at(block);
  CHECK(b.references > 0 && !b.named, "only a used block without a hash can be named");
  b.named = true;
  b.hash = hash;
  b.group = group;
  const auto index = static_cast<std::size_t>(group);
  if (index >= by_hash_.size()) by_hash_.resize(index + 1);
  const auto [entry, first] = by_hash_[index].try_emplace(hash, Twins{block, block});
  if (first) return true;
  b.older_twin = entry->second.newest;
  at(b.older_twin).newer_twin = block;
  entry->second.newest = block;
  return false;
}

BlockId BlockPool::find(const prefix::BlockHash& hash, int group) const {
  const auto index = static_cast<std::size_t>(group);
  if (index >= by_hash_.size()) return kNoBlock;
  const auto entry = by_hash_[index].find(hash);
  return entry == by_hash_[index].end() ? kNoBlock : entry->second.oldest;
}

void BlockPool::forget_hashes() {
  if (log_ != nullptr) log_->cleared();
  if (tier_ != nullptr) tier_->clear();
  ++forgotten_;
  by_hash_.clear();
  cached_ = 0;
  for (Block& block : blocks_) {
    block.named = false;
    block.older_twin = block.newer_twin = kNoBlock;
  }
}

std::vector<BlockId> BlockPool::free_list() const {
  std::vector<BlockId> list;
  for (BlockId block = first_free_; block != kNoBlock; block = at(block).next) list.push_back(block);
  return list;
}

void BlockPool::append_free(BlockId block) {
  Block& b = at(block);
  b.previous = last_free_;
  b.next = kNoBlock;
  (last_free_ == kNoBlock ? first_free_ : at(last_free_).next) = block;
  last_free_ = block;
  ++free_;
  if (b.named) ++cached_;
}

void BlockPool::remove_free(BlockId block) {
  Block& b = at(block);
  (b.previous == kNoBlock ? first_free_ : at(b.previous).next) = b.next;
  (b.next == kNoBlock ? last_free_ : at(b.next).previous) = b.previous;
  b.previous = b.next = kNoBlock;
  --free_;
  if (b.named) --cached_;
}

void BlockPool::forget_hash(BlockId block) {
  Block& b = at(block);
  auto& hashes = by_hash_[static_cast<std::size_t>(b.group)];
  const auto entry = hashes.find(b.hash);
  if (b.older_twin == kNoBlock && b.newer_twin == kNoBlock) {
    hashes.erase(entry);
    last_gone(block);
  } else {
    (b.older_twin == kNoBlock ? entry->second.oldest : at(b.older_twin).newer_twin) = b.newer_twin;
    (b.newer_twin == kNoBlock ? entry->second.newest : at(b.newer_twin).older_twin) = b.older_twin;
  }
  b.named = false;
  b.older_twin = b.newer_twin = kNoBlock;
}

void BlockPool::last_gone(BlockId block) {
  const Block& b = at(block);
  const HostTier::Kept kept = tier_ ? tier_->keep(block, b.hash, b.group) : HostTier::Kept();
  if (log_ == nullptr) return;
  if (kept.dropped) log_->removed(*kept.dropped, Medium::kHost);
  if (b.group != 0) return;
  if (kept.copied) log_->stored_in_host(b.hash);
  log_->removed(b.hash);
}

}  // namespace braid::kv
