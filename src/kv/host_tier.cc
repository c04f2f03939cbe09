// SPDX-License-Identifier: Apache-2.0
#include "kv/host_tier.h"

#include <cstring>
#include <numeric>

#include "base/check.h"

namespace braid::kv {

HostTier::HostTier(const Cache* cache, Buffer memory)
    : cache_(cache),
      block_bytes_(block_bytes(cache->layout(), cache->block_size())),
      memory_(std::move(memory)),
      slots_(memory_.size() == 0 ? 0 : memory_.size() / block_bytes_),
      empty_(slots_.size()) {
  std::iota(empty_.rbegin(), empty_.rend(), 0);
}

HostTier::Slot HostTier::find(const prefix::BlockHash& hash, int group) const {
  const auto found = by_hash_.find({hash, group});
  return found == by_hash_.end() ? kNoSlot : found->second;
}

HostTier::Kept HostTier::keep(std::int32_t block, const prefix::BlockHash& hash, int group) {
  Kept kept;
  if (const Slot here = find(hash, group); here != kNoSlot) {
    if (!at(here).held) order_.splice(order_.end(), order_, at(here).place);
    return kept;
  }
  const Slot slot = room(kept);
  if (slot == kNoSlot) return kept;
  at(slot) = {{hash, group}, order_.insert(order_.end(), slot), false};
  by_hash_.emplace(at(slot).key, slot);
  copy(slot, block, true);
  kept.copied = true;
  return kept;
}

HostTier::Slot HostTier::room(Kept& kept) {
  if (!empty_.empty()) {
    const Slot slot = empty_.back();
    empty_.pop_back();
    return slot;
  }
  if (order_.empty()) return kNoSlot;
  const Slot slot = order_.front();
  order_.pop_front();
  by_hash_.erase(at(slot).key);
  if (at(slot).key.group == 0) kept.dropped = at(slot).key.hash;
  return slot;
}

void HostTier::hold(Slot slot) {
  CHECK(!at(slot).held, "a block of the host tier is held once at a time");
  order_.erase(at(slot).place);
  at(slot).held = true;
}

void HostTier::let_go(Slot slot) {
  CHECK(at(slot).held, "only a held block of the host tier can be let go");
  at(slot).place = order_.insert(order_.end(), slot);
  at(slot).held = false;
}

void HostTier::restore(Slot slot, std::int32_t block) { copy(slot, block, false); }

void HostTier::clear() {
  by_hash_.clear();
  order_.clear();
  empty_.resize(slots_.size());
  std::iota(empty_.rbegin(), empty_.rend(), 0);
}

void HostTier::copy(Slot slot, std::int32_t block, bool in) {
  const Layout& layout = cache_->layout();
  const std::size_t piece = block_bytes_ / static_cast<std::size_t>(layout.places());
  std::byte* here = memory_.data() + static_cast<std::size_t>(slot) * block_bytes_;
  for (int place = 0; place < layout.places(); ++place, here += piece) {
    std::byte* const there = cache_->array(place) + static_cast<std::size_t>(block) * piece;
    void* const to = in ? here : there;
    const void* const from = in ? there : here;
    if (layout.stream) layout.stream->copy(to, from, piece);
    else std::memcpy(to, from, piece);
  }
  (in ? traffic_.in : traffic_.out) += block_bytes_;
}

}  // namespace braid::kv
