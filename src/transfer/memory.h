// SPDX-License-Identifier: Apache-2.0
// A cache's memory where peers can read it:
//
//   [one generation word a block][array 0][array 1]...     each part begins at a multiple of 4096
//
// with the arrays of kv::Cache: one a layer, or one a place of groups of layers.
//
// Blocks that are lent are one hold, which has a generation word while it lasts: its number, which is
// never used again, and 0 as soon as the hold has ended, before any of its blocks can change. A reader
// that finds the number after it has read has read what was lent.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "fabric/transport.h"
#include "kv/cache.h"

namespace braid::transfer {

// What a reader must know of it.
struct Shape {
  std::string model;  // what keys and values depend on beside tokens; equal on both sides
  int layers = 0;     // arrays; with a draft module's
  std::int64_t row_bytes = 0;  // a token's in a layer
  std::string dtype;
  int block_size = 0;
  std::int32_t blocks = 0;
  int groups = 1;  // of layers, kv/layer_groups.h

  std::size_t layer_bytes() const;
  std::size_t layer_offset(int layer) const;
  std::size_t bytes() const { return layer_offset(layers); }
  static std::size_t generation_offset(std::uint32_t word) { return word * sizeof(std::uint64_t); }
};

// What makes it impossible that one reads the other's rows, as a sentence; empty: nothing.
std::string mismatch(const Shape& ours, const Shape& theirs);

class Memory {
 public:
  static Result<std::unique_ptr<Memory>> create(fabric::Transport& transport, Shape shape, kv::LayerGroups groups = {});

  const Shape& shape() const { return shape_; }
  const kv::LayerGroups& groups() const { return groups_; }
  std::string descriptor() const { return region_->descriptor(); }
  std::byte* at(std::size_t offset) const { return region_->memory().data() + offset; }
  // Rows of an array, for kv::Cache.
  std::byte* layer(int index) const { return at(shape_.layer_offset(index)); }
  void set_generation(std::uint32_t word, std::uint64_t number);

 private:
  Memory(Shape shape, kv::LayerGroups groups, std::unique_ptr<fabric::Region> region)
      : shape_(std::move(shape)), groups_(std::move(groups)), region_(std::move(region)) {}

  const Shape shape_;
  const kv::LayerGroups groups_;
  const std::unique_ptr<fabric::Region> region_;
};

}  // namespace braid::transfer
