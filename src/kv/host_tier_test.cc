// SPDX-License-Identifier: Apache-2.0
#include "kv/host_tier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <list>
#include <random>

#include "kv/block_pool.h"

namespace braid::kv {
namespace {

using ::testing::ElementsAre;

constexpr int kBlockSize = 2;

prefix::BlockHash hash_of(int content) {
  prefix::BlockHash hash;
  hash.size = 16;
  hash.bytes[0] = static_cast<std::uint8_t>(content);
  return hash;
}

// Two layers of one number a token.
struct Kept {
  explicit Kept(std::int32_t blocks, std::int32_t host_blocks)
      : cache({2, 1, DType::kF32}, blocks, kBlockSize),
        tier(&cache, Buffer(static_cast<std::size_t>(host_blocks) * HostTier::block_bytes(cache.layout(), kBlockSize))),
        pool(blocks, &log, &tier) {}

  void fill(BlockId block, int content) {
    for (int layer = 0; layer < 2; ++layer) {
      for (int i = 0; i < kBlockSize; ++i) *row(layer, block, i) = static_cast<float>(content * 10 + layer * 2 + i);
    }
  }
  bool holds(BlockId block, int content) {
    for (int layer = 0; layer < 2; ++layer) {
      for (int i = 0; i < kBlockSize; ++i) {
        if (*row(layer, block, i) != static_cast<float>(content * 10 + layer * 2 + i)) return false;
      }
    }
    return true;
  }
  float* row(int layer, BlockId block, int i) { return reinterpret_cast<float*>(cache.layer(layer).row(block * kBlockSize + i)); }

  Cache cache;
  HostTier tier;
  EventLog log;
  BlockPool pool;
};

TEST(HostTier, gets_what_the_pool_is_about_to_overwrite_and_gives_it_back) {
  Kept k(1, 2);
  BlockId block = k.pool.allocate();
  k.fill(block, 7);
  k.pool.name(block, hash_of(7));
  k.pool.release(block);
  EXPECT_EQ(k.tier.find(hash_of(7), 0), HostTier::kNoSlot) << "it is still in the cache";
  block = k.pool.allocate();
  k.fill(block, 8);
  const HostTier::Slot slot = k.tier.find(hash_of(7), 0);
  ASSERT_NE(slot, HostTier::kNoSlot);
  EXPECT_EQ(k.tier.find(hash_of(7), 1), HostTier::kNoSlot) << "another group has other content";
  k.tier.restore(slot, block);
  EXPECT_TRUE(k.holds(block, 7));
  k.pool.forget_hashes();
  EXPECT_EQ(k.tier.find(hash_of(7), 0), HostTier::kNoSlot);
}

TEST(HostTier, tells_followers_where_a_block_can_still_be_found) {
  Kept k(1, 1);
  for (int content = 1; content <= 3; ++content) {
    const BlockId block = k.pool.allocate();
    k.pool.name(block, hash_of(content));
    k.pool.release(block);
  }
  std::vector<std::string> told;
  for (const CacheEvent& event : k.log.take()) {
    if (const auto* stored = std::get_if<BlocksStored>(&event)) {
      EXPECT_EQ(stored->medium, Medium::kHost);
      told.push_back("in host " + std::to_string(stored->blocks.front().bytes[0]));
    } else {
      const auto& removed = std::get<BlocksRemoved>(event);
      told.push_back((removed.medium == Medium::kHost ? "host lost " : "device lost ") + std::to_string(removed.blocks.front().bytes[0]));
    }
  }
  EXPECT_THAT(told, ElementsAre("in host 1", "device lost 1", "host lost 1", "in host 2", "device lost 2"));
}

TEST(HostTier, behaves_like_a_list_in_order_of_use) {
  std::mt19937 random(3);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  Kept k(4, 8);
  std::list<int> twin;  // contents, the least recently used first
  std::vector<int> held;
  for (int step = 0; step < 20000; ++step) {
    const int content = below(20);
    const HostTier::Slot slot = k.tier.find(hash_of(content), 0);
    const bool is_held = std::ranges::count(held, content) > 0;
    ASSERT_EQ(slot != HostTier::kNoSlot, is_held || std::ranges::count(twin, content) > 0);
    if (slot != HostTier::kNoSlot && !is_held && below(4) == 0) {
      k.tier.hold(slot);
      held.push_back(content);
      twin.remove(content);
    } else if (is_held && below(2) == 0) {
      k.tier.let_go(slot);
      std::erase(held, content);
      twin.push_back(content);
    } else if (slot != HostTier::kNoSlot && below(2) == 0) {
      const BlockId block = below(4);
      k.tier.restore(slot, block);
      ASSERT_TRUE(k.holds(block, content));
    } else {
      const BlockId block = below(4);
      k.fill(block, content);
      const auto kept = k.tier.keep(block, hash_of(content), 0);
      ASSERT_EQ(kept.copied, slot == HostTier::kNoSlot && held.size() < 8);
      if (is_held) continue;
      if (slot != HostTier::kNoSlot) twin.remove(content);
      else if (!kept.copied) continue;
      twin.push_back(content);
      ASSERT_EQ(kept.dropped.has_value(), twin.size() + held.size() > 8);
      if (!kept.dropped) continue;
      ASSERT_EQ(kept.dropped->bytes[0], twin.front());
      twin.pop_front();
    }
    ASSERT_EQ(k.tier.kept(), static_cast<std::int32_t>(twin.size() + held.size()));
  }
}

}  // namespace
}  // namespace braid::kv
