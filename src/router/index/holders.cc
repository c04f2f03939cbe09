// SPDX-License-Identifier: Apache-2.0
#include "router/index/holders.h"

#include <algorithm>

namespace braid::router {

void Holders::widen(std::size_t width) {
  const std::size_t count = bits_.size() / width_;
  std::vector<std::uint64_t> wider(count * width);
  for (std::size_t i = 0; i < count; ++i) {
    std::copy_n(bits_.begin() + static_cast<std::ptrdiff_t>(i * width_), width_,
                wider.begin() + static_cast<std::ptrdiff_t>(i * width));
  }
  bits_ = std::move(wider);
  width_ = width;
}

void Holders::add(std::uint64_t key, Slot slot) {
  if (slot / kBits >= width_) widen(std::max<std::size_t>(slot / kBits + 1, width_ * 2));
  const std::uint32_t* found = rows_.find(key);
  std::uint32_t index = 0;
  if (found != nullptr) {
    index = *found;
  } else if (!free_rows_.empty()) {
    index = free_rows_.back();
    free_rows_.pop_back();
    rows_[key] = index;
  } else {
    index = static_cast<std::uint32_t>(bits_.size() / width_);
    bits_.resize(bits_.size() + width_);
    rows_[key] = index;
  }
  row(index)[slot / kBits] |= std::uint64_t{1} << slot % kBits;
}

void Holders::remove(std::uint64_t key, Slot slot) {
  const std::uint32_t* found = rows_.find(key);
  if (found == nullptr || slot / kBits >= width_) return;
  const std::uint32_t index = *found;
  row(index)[slot / kBits] &= ~(std::uint64_t{1} << slot % kBits);
  if (std::any_of(row(index), row(index) + width_, [](std::uint64_t word) { return word != 0; })) return;
  rows_.erase(key);
  free_rows_.push_back(index);
}

bool Holders::holds(std::uint64_t key, Slot slot) const {
  const std::uint32_t* found = rows_.find(key);
  if (found == nullptr || slot / kBits >= width_) return false;
  return row(*found)[slot / kBits] >> slot % kBits & 1;
}

void Holders::match(std::span<const std::uint64_t> keys, std::span<const Slot> slots, std::span<int> counts) const {
  std::vector<std::uint64_t> alive(width_);
  for (const Slot slot : slots) {
    if (slot / kBits < width_) alive[slot / kBits] |= std::uint64_t{1} << slot % kBits;
  }
  std::vector<std::uint64_t> left(alive);
  std::vector<int> by_slot(width_ * kBits);
  int depth = 0;
  for (const std::uint64_t key : keys) {
    const std::uint32_t* found = rows_.find(key);
    std::uint64_t any = 0;
    for (std::size_t w = 0; w < width_; ++w) {
      left[w] = found == nullptr ? 0 : alive[w] & row(*found)[w];
      for (std::uint64_t gone = alive[w] & ~left[w]; gone != 0; gone &= gone - 1) {
        by_slot[w * kBits + static_cast<std::size_t>(__builtin_ctzll(gone))] = depth;
      }
      alive[w] = left[w];
      any |= left[w];
    }
    if (any == 0) break;
    ++depth;
  }
  for (std::size_t w = 0; w < width_; ++w) {
    for (std::uint64_t rest = alive[w]; rest != 0; rest &= rest - 1) {
      by_slot[w * kBits + static_cast<std::size_t>(__builtin_ctzll(rest))] = depth;
    }
  }
  for (std::size_t i = 0; i < slots.size(); ++i) {
    counts[i] = slots[i] < by_slot.size() ? by_slot[slots[i]] : 0;
  }
}

}  // namespace braid::router
