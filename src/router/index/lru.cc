// SPDX-License-Identifier: Apache-2.0
#include "router/index/lru.h"

namespace braid::router {

void Lru::unlink(std::uint32_t place) {
  const Node& node = nodes_[place];
  (node.older == kNone ? oldest_ : nodes_[node.older].newer) = node.newer;
  (node.newer == kNone ? newest_ : nodes_[node.newer].older) = node.older;
}

void Lru::link_newest(std::uint32_t place) {
  nodes_[place].older = newest_;
  nodes_[place].newer = kNone;
  (newest_ == kNone ? oldest_ : nodes_[newest_].newer) = place;
  newest_ = place;
}

bool Lru::touch(std::uint64_t key) {
  if (const std::uint32_t* found = places_.find(key)) {
    const std::uint32_t place = *found;
    unlink(place);
    link_newest(place);
    return false;
  }
  std::uint32_t place = static_cast<std::uint32_t>(nodes_.size());
  if (free_.empty()) {
    nodes_.push_back({key});
  } else {
    place = free_.back();
    free_.pop_back();
    nodes_[place].key = key;
  }
  places_[key] = place;
  link_newest(place);
  return true;
}

bool Lru::erase(std::uint64_t key) {
  const std::uint32_t* found = places_.find(key);
  if (found == nullptr) return false;
  const std::uint32_t place = *found;
  unlink(place);
  places_.erase(key);
  free_.push_back(place);
  return true;
}

std::optional<std::uint64_t> Lru::pop_oldest() {
  if (oldest_ == kNone) return std::nullopt;
  const std::uint64_t key = nodes_[oldest_].key;
  erase(key);
  return key;
}

void Lru::clear() {
  places_.clear();
  nodes_.clear();
  free_.clear();
  oldest_ = newest_ = kNone;
}

}  // namespace braid::router
