// SPDX-License-Identifier: Apache-2.0
// The memory of a paged key/value cache: per layer one array [num_blocks * block_size, row_elements].
//
// A row holds what one token leaves in one layer: absorbed MLA [kv_lora | rope]; grouped-query
// attention [kv_heads * dim of k | kv_heads * dim of v]. Which block belongs to whom is
// kv/block_pool.h's business. Thread rules: written by the engine thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "tensor/device.h"

namespace braid::kv {

struct Layout {
  int layers = 0;
  std::int64_t row_elements = 0;  // per token and layer
  DType dtype = DType::kBF16;
  Stream* stream = nullptr;  // whose kernels read the rows; null: the host's

  std::size_t bytes_per_token() const {
    return static_cast<std::size_t>(layers) * static_cast<std::size_t>(row_elements) * size_of(dtype);
  }
};

class Cache {
 public:
  // `place`: where a layer's zeroed memory is, which outlives the cache; empty: the cache gets its own.
  Cache(const Layout& layout, std::int32_t num_blocks, int block_size, const std::function<std::byte*(int layer)>& place = {});

  const Layout& layout() const { return layout_; }
  std::int32_t num_blocks() const { return num_blocks_; }
  int block_size() const { return block_size_; }
  std::size_t bytes() const;
  // Rows of one layer, [num_blocks * block_size, row_elements].
  Activations layer(int index) const;

 private:
  Layout layout_;
  std::int32_t num_blocks_;
  int block_size_;
  std::vector<Buffer> layers_;
};

}  // namespace braid::kv
