// SPDX-License-Identifier: Apache-2.0
#include "kv/layer_groups.h"

#include <algorithm>

#include "ops/attention.h"

namespace braid::kv {
namespace {

struct Kind {
  KeySpan span;
  std::vector<int> layers;
};

std::vector<Kind> kinds_of(std::span<const KeySpan> layers) {
  std::vector<Kind> kinds;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    auto kind = std::ranges::find_if(kinds, [&](const Kind& k) { return k.span == layers[i]; });
    if (kind == kinds.end()) kind = kinds.insert(layers[i].all() ? kinds.begin() : kinds.end(), {layers[i], {}});
    kind->layers.push_back(static_cast<int>(i));
  }
  return kinds;
}

// Few places stay empty, and kinds of nearly the same size are one group each.
int size_of_groups(const std::vector<Kind>& kinds) {
  std::size_t least = kinds.front().layers.size(), most = least;
  for (const Kind& kind : kinds) {
    least = std::min(least, kind.layers.size());
    most = std::max(most, kind.layers.size());
  }
  return static_cast<int>(4 * most < 5 * least ? most : least);
}

}  // namespace

std::int64_t KeySpan::first_key(std::int64_t position) const { return ops::first_key(position, window, chunk); }

LayerGroups::LayerGroups(std::span<const KeySpan> layers) : places_(layers.size()) {
  if (layers.empty()) {
    groups_.resize(1);
    return;
  }
  const auto kinds = kinds_of(layers);
  size_ = size_of_groups(kinds);
  for (const Kind& kind : kinds) {
    for (std::size_t i = 0; i < kind.layers.size(); ++i) {
      const int index = static_cast<int>(i) % size_;
      if (index == 0) groups_.push_back({kind.span});
      groups_.back().layers = index + 1;
      places_[static_cast<std::size_t>(kind.layers[i])] = {size() - 1, index};
    }
  }
}

std::int32_t Paging::first_block(int group, std::int64_t position) const {
  return static_cast<std::int32_t>(groups->span(group).first_key(std::max<std::int64_t>(position, 0)) / block_size);
}

std::int32_t Paging::most_blocks(int group, std::int64_t tokens) const {
  const KeySpan& span = groups->span(group);
  if (span.all()) return blocks_to(tokens);
  return std::min(blocks_to(tokens), blocks_to(std::int64_t{std::max(span.window, span.chunk)} + most_at_once) + 1);
}

std::int64_t Paging::most_blocks(std::int64_t tokens) const { return most_blocks_from(0, tokens); }

std::int64_t Paging::most_blocks_from(std::int64_t position, std::int64_t tokens) const {
  std::int64_t sum = 0;
  for (int g = 0; g < groups->size(); ++g) sum += std::min(most_blocks(g, tokens), blocks_to(tokens) - first_block(g, position));
  return sum;
}

std::int64_t Paging::longest(std::int64_t blocks) const {
  std::int64_t fits = 0, too_many = (std::int64_t{1} << 30) / block_size + 1;
  while (too_many - fits > 1) {
    const std::int64_t middle = (fits + too_many) / 2;
    (most_blocks(middle * block_size) <= blocks ? fits : too_many) = middle;
  }
  return fits * block_size;
}

}  // namespace braid::kv
