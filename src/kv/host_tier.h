// SPDX-License-Identifier: Apache-2.0
// A second place for blocks that the cache has no room for: memory of the host. A named block that is about to
// be overwritten is copied here, and copied back when somebody needs its content again. The least recently used
// one makes room. A block of a group of layers (kv/layer_groups.h) is one of its own, as in the pool.
//
// Copies are enqueued on the cache's stream, between the kernels before and after; nothing is waited for.
// Thread rules: the engine thread only.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kv/cache.h"
#include "prefix/block_hash.h"

namespace braid::kv {

class HostTier {
 public:
  using Slot = std::int32_t;
  static constexpr Slot kNoSlot = -1;

  // `memory` from the stream's allocate_host(); what it holds is as many blocks as fit. The cache outlives it.
  HostTier(const Cache* cache, Buffer memory);

  std::int32_t total() const { return static_cast<std::int32_t>(slots_.size()); }
  std::int32_t kept() const { return static_cast<std::int32_t>(by_hash_.size()); }

  Slot find(const prefix::BlockHash& hash, int group) const;

  struct Kept {
    bool copied = false;  // false: it was here, or there is no room
    std::optional<prefix::BlockHash> dropped;  // of the first group: what went for it
  };
  // Keeps the content of a block of the cache.
  Kept keep(std::int32_t block, const prefix::BlockHash& hash, int group);

  // A held block is not dropped. let_go() makes it the last to be.
  void hold(Slot slot);
  void let_go(Slot slot);
  // Copies the content into a block of the cache. It stays here too.
  void restore(Slot slot, std::int32_t block);

  // Forgets all. REQUIRES: none is held.
  void clear();

  // Bytes copied since the last call.
  struct Traffic {
    std::uint64_t in = 0;   // kept
    std::uint64_t out = 0;  // restored
  };
  Traffic take_traffic() { return std::exchange(traffic_, {}); }

  // Bytes of one block.
  static std::size_t block_bytes(const Layout& layout, int block_size) { return layout.bytes_per_slot() * static_cast<std::size_t>(block_size); }

 private:
  struct Key {
    prefix::BlockHash hash;
    int group = 0;
    bool operator==(const Key&) const = default;
  };
  struct KeyHasher {
    std::size_t operator()(const Key& key) const { return prefix::BlockHashHasher()(key.hash) + static_cast<std::size_t>(key.group); }
  };
  struct Entry {
    Key key;
    std::list<Slot>::iterator place;  // in order_, unless held
    bool held = false;
  };

  Entry& at(Slot slot) { return slots_[static_cast<std::size_t>(slot)]; }
  Slot room(Kept& kept);
  void copy(Slot slot, std::int32_t block, bool in);

  const Cache* const cache_;
  const std::size_t block_bytes_;
  Buffer memory_;
  std::vector<Entry> slots_;
  std::vector<Slot> empty_;
  std::list<Slot> order_;  // the least recently used first
  std::unordered_map<Key, Slot, KeyHasher> by_hash_;
  Traffic traffic_;
};

}  // namespace braid::kv
