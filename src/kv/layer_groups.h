// SPDX-License-Identifier: Apache-2.0
// Layers that see only a window or a chunk need no keys from before it. So layers are put into groups
// that see the same keys, each group has a page table of its own, and what a group sees no longer is
// given back. All groups have as many layers as the largest (some of a smaller one's places stay
// empty), so that a block of one is as large as a block of another and one pool serves them all.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace braid::kv {

// Which keys a layer's queries see, as ops::AttentionShape has it; both 0: all up to their own.
struct KeySpan {
  int window = 0;
  int chunk = 0;

  bool all() const { return window == 0 && chunk == 0; }
  // The first key that the query at `position` sees.
  std::int64_t first_key(std::int64_t position) const;
  bool operator==(const KeySpan&) const = default;
};

class LayerGroups {
 public:
  // One group of all layers, which sees all keys.
  LayerGroups() : groups_(1) {}
  // Groups of the layers with these spans. Those that see all come first.
  explicit LayerGroups(std::span<const KeySpan> layers);

  int size() const { return static_cast<int>(groups_.size()); }
  const KeySpan& span(int group) const { return groups_[static_cast<std::size_t>(group)].span; }

  // A layer's group, and its place there.
  struct Place {
    int group = 0;
    int index = 0;
  };
  Place place_of(int layer) const { return places_.empty() ? Place{0, layer} : places_[static_cast<std::size_t>(layer)]; }
  // Places that a block has, of the `layers` layers of the model.
  int places(int layers) const { return places_.empty() ? layers : size_; }
  // Layers of a group.
  int layers_of(int group, int layers) const { return places_.empty() ? layers : groups_[static_cast<std::size_t>(group)].layers; }

 private:
  struct Group {
    KeySpan span;
    int layers = 0;
  };

  std::vector<Group> groups_;
  std::vector<Place> places_;  // by layer
  int size_ = 0;
};

// How sequences are cut into blocks, and the one answer to how many blocks they need: for the size of a
// cache, for the longest sequence that fits into it, and for admission.
struct Paging {
  Paging(int block) : block_size(block), groups(std::make_shared<const LayerGroups>()) {}
  // `most_at_once`: tokens of a sequence that one step computes.
  Paging(int block, LayerGroups all, std::int32_t most_at_once)
      : block_size(block), most_at_once(most_at_once), groups(std::make_shared<const LayerGroups>(std::move(all))) {}

  int block_size;
  std::int32_t most_at_once = 0;
  std::shared_ptr<const LayerGroups> groups;

  std::int32_t blocks_to(std::int64_t tokens) const { return static_cast<std::int32_t>((tokens + block_size - 1) / block_size); }
  // The first block that a group's query at `position` sees.
  std::int32_t first_block(int group, std::int64_t position) const;
  // Most blocks that a sequence of `tokens` tokens holds at a time: of one group, of all.
  std::int32_t most_blocks(int group, std::int64_t tokens) const;
  std::int64_t most_blocks(std::int64_t tokens) const;
  // The same, when the query at `position` is the first to be computed.
  std::int64_t most_blocks_from(std::int64_t position, std::int64_t tokens) const;
  // Tokens of the longest sequence that `blocks` blocks hold; at most 2^30.
  std::int64_t longest(std::int64_t blocks) const;
};

}  // namespace braid::kv
