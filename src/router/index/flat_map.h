// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: a map from 64-bit hashes to small values, in one array, for look-ups that
// cost one cache line. Keys must be well mixed already. Linear probing; erasing leaves no tombstones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace braid::router {

template <class Value>
class FlatMap {
 public:
  std::size_t size() const { return size_; }

  // Valid until the next insert or erase; null if there is none.
  Value* find(std::uint64_t key) {
    if (size_ == 0) return nullptr;
    for (std::size_t at = home(key); cells_[at].used; at = next(at)) {
      if (cells_[at].key == key) return &cells_[at].value;
    }
    return nullptr;
  }
  const Value* find(std::uint64_t key) const { return const_cast<FlatMap*>(this)->find(key); }

  // The value of `key`, made if there was none.
  Value& operator[](std::uint64_t key) {
    if ((size_ + 1) * 4 > cells_.size() * 3) grow();
    std::size_t at = home(key);
    for (; cells_[at].used; at = next(at)) {
      if (cells_[at].key == key) return cells_[at].value;
    }
    cells_[at] = {key, Value{}, true};
    ++size_;
    return cells_[at].value;
  }

  bool erase(std::uint64_t key) {
    if (size_ == 0) return false;
    std::size_t hole = home(key);
    for (; cells_[hole].used && cells_[hole].key != key; hole = next(hole)) {
    }
    if (!cells_[hole].used) return false;
    for (std::size_t at = next(hole); cells_[at].used; at = next(at)) {
      if (((at - home(cells_[at].key)) & mask()) < ((at - hole) & mask())) continue;
      cells_[hole] = std::move(cells_[at]);
      hole = at;
    }
    cells_[hole] = {};
    --size_;
    return true;
  }

  void clear() {
    cells_.clear();
    size_ = 0;
  }

  template <class Visit>
  void for_each(Visit&& visit) {
    for (Cell& cell : cells_) {
      if (cell.used) visit(cell.key, cell.value);
    }
  }

 private:
  struct Cell {
    std::uint64_t key = 0;
    Value value{};
    bool used = false;
  };

  std::size_t mask() const { return cells_.size() - 1; }
  std::size_t home(std::uint64_t key) const { return static_cast<std::size_t>(key * 0x9e3779b97f4a7c15u >> 20) & mask(); }
  std::size_t next(std::size_t at) const { return (at + 1) & mask(); }

  void grow() {
    std::vector<Cell> old(cells_.empty() ? 16 : cells_.size() * 2);
    std::swap(old, cells_);
    for (Cell& cell : old) {
      if (!cell.used) continue;
      std::size_t at = home(cell.key);
      while (cells_[at].used) at = next(at);
      cells_[at] = std::move(cell);
    }
  }

  std::vector<Cell> cells_;
  std::size_t size_ = 0;
};

}  // namespace braid::router
