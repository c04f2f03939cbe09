// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: which endpoints hold which blocks, as one bit set per block.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "router/index/flat_map.h"
#include "router/plugin.h"

namespace braid::router {

class Holders {
 public:
  std::size_t blocks() const { return rows_.size(); }

  void add(std::uint64_t key, Slot slot);
  void remove(std::uint64_t key, Slot slot);
  bool holds(std::uint64_t key, Slot slot) const;

  // For each of `slots`, how many of `keys` from the start it holds without a miss.
  void match(std::span<const std::uint64_t> keys, std::span<const Slot> slots, std::span<int> counts) const;

 private:
  static constexpr std::size_t kBits = 64;

  std::uint64_t* row(std::uint32_t index) { return bits_.data() + index * width_; }
  const std::uint64_t* row(std::uint32_t index) const { return bits_.data() + index * width_; }
  void widen(std::size_t width);

  std::size_t width_ = 1;  // words of a row
  FlatMap<std::uint32_t> rows_;
  std::vector<std::uint64_t> bits_;
  std::vector<std::uint32_t> free_rows_;
};

}  // namespace braid::router
