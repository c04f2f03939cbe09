// SPDX-License-Identifier: Apache-2.0
#include "kv/cache.h"

namespace braid::kv {

Cache::Cache(const Layout& layout, std::int32_t num_blocks, int block_size, const std::function<std::byte*(int index)>& place)
    : layout_(layout), num_blocks_(num_blocks), block_size_(block_size) {
  const std::size_t rows = static_cast<std::size_t>(num_blocks) * static_cast<std::size_t>(block_size);
  for (int i = 0; i < layout.places(); ++i) {
    const std::size_t bytes = rows * layout.row_bytes();
    if (place) arrays_.emplace_back(place(i), bytes, [](std::byte*, std::size_t) {});
    else arrays_.push_back(layout.stream ? layout.stream->allocate(bytes) : Buffer(bytes));
  }
}

std::size_t Cache::bytes() const {
  std::size_t total = 0;
  for (const auto& array : arrays_) total += array.size();
  return total;
}

Activations Cache::layer(int index) const {
  return {arrays_[static_cast<std::size_t>(layout_.groups.place_of(index).index)].data(), layout_.dtype,
          static_cast<std::int64_t>(num_blocks_) * block_size_, layout_.row_elements, layout_.row_elements};
}

}  // namespace braid::kv
