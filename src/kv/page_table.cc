// SPDX-License-Identifier: Apache-2.0
#include "kv/page_table.h"

#include <algorithm>

namespace braid::kv {

std::int32_t PageTable::missing(std::int32_t tokens) const {
  const std::int32_t needed = (tokens + block_size_ - 1) / block_size_;
  return std::max(0, needed - static_cast<std::int32_t>(blocks_.size()));
}

bool PageTable::grow(BlockPool& pool, std::int32_t tokens) {
  const std::int32_t count = missing(tokens);
  if (count > pool.free()) return false;
  for (std::int32_t i = 0; i < count; ++i) blocks_.push_back(pool.allocate());
  return true;
}

void PageTable::share(BlockPool& pool, BlockId block) {
  pool.acquire(block);
  blocks_.push_back(block);
}

void PageTable::release(BlockPool& pool) {
  for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) pool.release(*block);
  blocks_.clear();
}

}  // namespace braid::kv
