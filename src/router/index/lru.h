// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: a bounded set of hashes that forgets the one not used for longest.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "router/index/flat_map.h"

namespace braid::router {

class Lru {
 public:
  std::size_t size() const { return places_.size(); }
  bool contains(std::uint64_t key) const { return places_.find(key) != nullptr; }

  // Makes `key` the newest. True if it was not there.
  bool touch(std::uint64_t key);
  bool erase(std::uint64_t key);
  // The oldest, which is no longer there then.
  std::optional<std::uint64_t> pop_oldest();
  void clear();

  template <class Visit>
  void for_each(Visit&& visit) {
    places_.for_each([&](std::uint64_t key, std::uint32_t&) { visit(key); });
  }

 private:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  struct Node {
    std::uint64_t key = 0;
    std::uint32_t older = kNone;
    std::uint32_t newer = kNone;
  };

  void unlink(std::uint32_t place);
  void link_newest(std::uint32_t place);

  FlatMap<std::uint32_t> places_;
  std::vector<Node> nodes_;
  std::vector<std::uint32_t> free_;
  std::uint32_t oldest_ = kNone;
  std::uint32_t newest_ = kNone;
};

}  // namespace braid::router
