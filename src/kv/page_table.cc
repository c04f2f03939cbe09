// SPDX-License-Identifier: Apache-2.0
#include "kv/page_table.h"

#include <algorithm>

namespace braid::kv {

std::vector<BlockId> PageTable::entries(std::int32_t tokens) const {
  std::vector<BlockId> all;
  for (std::int32_t block = 0; block < paging_.blocks_to(tokens); ++block) {
    for (int g = 0; g < groups(); ++g) all.push_back(holds(g, block) ? at(g, block) : kNoBlock);
  }
  return all;
}

bool PageTable::covers(std::int32_t position) const {
  for (int g = 0; g < groups(); ++g) {
    if (paging_.first_block(g, position) < of(g).first || paging_.blocks_to(position) > of(g).end) return false;
  }
  return true;
}

std::int32_t PageTable::missing(std::int32_t tokens) const {
  std::int32_t count = 0;
  for (const Held& held : held_) count += std::max(0, paging_.blocks_to(tokens) - held.end);
  return count;
}

bool PageTable::grow(BlockPool& pool, std::int32_t tokens) {
  if (missing(tokens) > pool.free()) return false;
  for (int g = 0; g < groups(); ++g) {
    while (of(g).end < paging_.blocks_to(tokens)) append(g, pool.allocate());
  }
  return true;
}

void PageTable::begin(std::int32_t position) {
  for (int g = 0; g < groups(); ++g) {
    const std::int32_t first = paging_.first_block(g, position);
    held_[static_cast<std::size_t>(g)] = {first, first};
  }
}

void PageTable::reserve(BlockPool& pool, std::int32_t tokens) {
  for (int g = 0; g < groups(); ++g) {
    const std::int32_t goal = std::min(paging_.blocks_to(tokens), of(g).first + paging_.most_blocks(g, tokens));
    while (of(g).end < goal) append(g, pool.allocate());
  }
}

void PageTable::slide(BlockPool& pool, std::int32_t position, std::int32_t tokens) {
  for (int g = 0; g < groups(); ++g) {
    Held& held = held_[static_cast<std::size_t>(g)];
    const std::int32_t keep = std::min(paging_.first_block(g, position - 1), held.end);
    std::int32_t given = 0;
    for (; held.first < keep; ++held.first, ++given) pool.release(at(g, held.first));
    for (; given > 0 && held.end < paging_.blocks_to(tokens); --given) append(g, pool.allocate());
  }
}

void PageTable::release(BlockPool& pool) {
  const auto blocks = static_cast<std::int32_t>(entries_.size() / held_.size());
  for (std::int32_t block = blocks - 1; block >= 0; --block) {
    for (int g = groups() - 1; g >= 0; --g) {
      if (holds(g, block)) pool.release(at(g, block));
    }
  }
  entries_.clear();
  held_.assign(held_.size(), {});
}

void PageTable::append(int group, BlockId block) {
  Held& held = held_[static_cast<std::size_t>(group)];
  const std::size_t end = entry(0, held.end + 1);
  if (entries_.size() < end) entries_.resize(end, 0);
  entries_[entry(group, held.end++)] = block;
}

}  // namespace braid::kv
