// SPDX-License-Identifier: Apache-2.0
// The memory of a paged key/value cache: for each place that a block has (kv/layer_groups.h; without groups:
// per layer) one array [num_blocks * block_size, row_elements].
//
// A row holds what one token leaves in one layer: absorbed MLA [kv_lora | rope]; grouped-query
// attention [kv_heads * dim of k | kv_heads * dim of v]. Which block belongs to whom is
// kv/block_pool.h's business. Thread rules: written by the engine thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kv/layer_groups.h"
#include "tensor/device.h"

namespace braid::kv {

struct Layout {
  int layers = 0;
  std::int64_t row_elements = 0;  // per token and layer
  DType dtype = DType::kBF16;
  Stream* stream = nullptr;  // whose kernels read the rows; null: the host's
  std::vector<KeySpan> spans;  // of each layer; empty: all see all
  LayerGroups groups;          // by default one, which keeps the keys of all layers

  // The same, with groups of layers that see the same keys.
  Layout grouped() const {
    Layout layout = *this;
    layout.groups = LayerGroups(spans);
    return layout;
  }
  int places() const { return groups.places(layers); }
  // A token's in all layers, while all keep it.
  std::size_t bytes_per_token() const { return static_cast<std::size_t>(layers) * row_bytes(); }
  // A block's for each of its tokens.
  std::size_t bytes_per_slot() const { return static_cast<std::size_t>(places()) * row_bytes(); }
  std::size_t row_bytes() const { return static_cast<std::size_t>(row_elements) * size_of(dtype); }
};

class Cache {
 public:
  // `place`: where an array's zeroed memory is, which outlives the cache; empty: the cache gets its own.
  Cache(const Layout& layout, std::int32_t num_blocks, int block_size, const std::function<std::byte*(int index)>& place = {});

  const Layout& layout() const { return layout_; }
  std::int32_t num_blocks() const { return num_blocks_; }
  int block_size() const { return block_size_; }
  std::size_t bytes() const;
  // Rows of one layer, [num_blocks * block_size, row_elements]; in blocks of its group.
  Activations layer(int index) const;
  // The memory of a place: block after block.
  std::byte* array(int place) const { return arrays_[static_cast<std::size_t>(place)].data(); }
  int group_of(int layer) const { return layout_.groups.place_of(layer).group; }

 private:
  Layout layout_;
  std::int32_t num_blocks_;
  int block_size_;
  std::vector<Buffer> arrays_;
};

}  // namespace braid::kv
