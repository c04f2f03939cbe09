// SPDX-License-Identifier: Apache-2.0
#include "kv/block_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>

namespace braid::kv {
namespace {

using ::testing::ElementsAre;

prefix::BlockHash hash_of(int content) {
  prefix::BlockHash hash;
  hash.size = 16;
  hash.bytes[0] = static_cast<std::uint8_t>(content);
  hash.bytes[1] = static_cast<std::uint8_t>(content >> 8);
  return hash;
}

TEST(BlockPool, hands_out_the_least_recently_freed_block) {
  BlockPool pool(3);
  EXPECT_EQ(pool.allocate(), 0);
  EXPECT_EQ(pool.allocate(), 1);
  EXPECT_EQ(pool.allocate(), 2);
  EXPECT_EQ(pool.allocate(), kNoBlock);
  pool.release(2);
  pool.release(0);
  pool.release(1);
  EXPECT_THAT(pool.free_list(), ElementsAre(2, 0, 1));
}

TEST(BlockPool, a_free_block_keeps_its_content_until_it_is_allocated_anew) {
  BlockPool pool(2);
  const BlockId block = pool.allocate();
  pool.name(block, hash_of(7));
  pool.release(block);
  EXPECT_EQ(pool.cached(), 1);
  ASSERT_EQ(pool.find(hash_of(7)), block);
  pool.acquire(block);
  EXPECT_EQ(pool.cached(), 0);
  EXPECT_EQ(pool.used(), 1);
  pool.release(block);
  EXPECT_EQ(pool.allocate(), 1);
  EXPECT_EQ(pool.find(hash_of(7)), block);
  EXPECT_EQ(pool.allocate(), block);
  EXPECT_EQ(pool.find(hash_of(7)), kNoBlock);
}

TEST(BlockPool, a_twin_takes_over_when_the_first_of_equal_content_is_reused) {
  BlockPool pool(3);
  for (int i = 0; i < 3; ++i) {
    pool.allocate();
    pool.name(i, hash_of(1));
  }
  EXPECT_EQ(pool.find(hash_of(1)), 0);
  pool.release(1);
  EXPECT_EQ(pool.allocate(), 1);  // the middle one goes
  EXPECT_EQ(pool.find(hash_of(1)), 0);
  pool.release(0);
  EXPECT_EQ(pool.allocate(), 0);
  EXPECT_EQ(pool.find(hash_of(1)), 2);
}

TEST(BlockPool, finds_nothing_that_it_was_told_to_forget) {
  BlockPool pool(4);
  for (const int content : {1, 2}) pool.name(pool.allocate(), hash_of(content));
  pool.forget_hashes();
  EXPECT_EQ(pool.find(hash_of(1)), kNoBlock);
  EXPECT_EQ(pool.used(), 2);
  EXPECT_EQ(pool.forgotten(), 1u);
}

TEST(BlockPool, keeps_blocks_of_equal_tokens_apart_by_group) {
  EventLog log;
  BlockPool pool(2, &log);
  EXPECT_TRUE(pool.name(pool.allocate(), hash_of(1), 0));
  EXPECT_TRUE(pool.name(pool.allocate(), hash_of(1), 1));
  EXPECT_EQ(pool.find(hash_of(1), 0), 0);
  EXPECT_EQ(pool.find(hash_of(1), 1), 1);
  EXPECT_EQ(pool.find(hash_of(1), 2), kNoBlock);
  pool.release(1);
  EXPECT_EQ(pool.allocate(), 1);
  EXPECT_EQ(pool.find(hash_of(1), 1), kNoBlock);
  EXPECT_TRUE(log.take().empty()) << "the first group's is still here";
  pool.release(0);
  EXPECT_EQ(pool.allocate(), 0);
  EXPECT_EQ(log.take().size(), 1u);
}

// The same rules, written with lists and searches instead of links and maps.
class NaivePool {
 public:
  explicit NaivePool(int n) : references(static_cast<std::size_t>(n)) {
    for (int i = 0; i < n; ++i) free.push_back(i);
  }
  BlockId allocate() {
    if (free.empty()) return kNoBlock;
    const BlockId block = free.front();
    free.pop_front();
    std::erase_if(names, [&](const auto& n) { return n.second == block; });
    references[static_cast<std::size_t>(block)] = 1;
    return block;
  }
  void acquire(BlockId block) {
    if (references[static_cast<std::size_t>(block)]++ == 0) std::erase(free, block);
  }
  void release(BlockId block) {
    if (--references[static_cast<std::size_t>(block)] == 0) free.push_back(block);
  }
  bool named(BlockId block) const {
    return std::ranges::any_of(names, [&](const auto& n) { return n.second == block; });
  }
  BlockId find(int content) const {
    for (const auto& [c, block] : names) {
      if (c == content) return block;
    }
    return kNoBlock;
  }

  std::deque<BlockId> free;
  std::vector<int> references;
  std::vector<std::pair<int, BlockId>> names;
};

TEST(BlockPool, behaves_as_a_naive_pool_under_random_use) {
  std::mt19937 random(20240517);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int round = 0; round < 40; ++round) {
    const int size = 1 + below(12);
    BlockPool pool(size);
    NaivePool naive(size);
    for (int step = 0; step < 800; ++step) {
      const BlockId block = below(size);
      const auto index = static_cast<std::size_t>(block);
      const int content = below(8);
      switch (below(6)) {
        case 0: ASSERT_EQ(pool.allocate(), naive.allocate()); break;
        case 1:
          pool.acquire(block);
          naive.acquire(block);
          break;
        case 2:
        case 3:
          if (naive.references[index] == 0) break;
          pool.release(block);
          naive.release(block);
          break;
        case 4:
          if (naive.references[index] == 0 || naive.named(block)) break;
          pool.name(block, hash_of(content));
          naive.names.emplace_back(content, block);
          break;
        case 5:
          if (below(100) > 0) break;
          pool.forget_hashes();
          naive.names.clear();
          break;
      }
      ASSERT_EQ(pool.free_list(), std::vector<BlockId>(naive.free.begin(), naive.free.end()));
      ASSERT_EQ(pool.find(hash_of(content)), naive.find(content));
      ASSERT_EQ(pool.references(block), naive.references[index]);
      ASSERT_EQ(pool.cached(), std::ranges::count_if(naive.free, [&](BlockId b) {
                  return naive.named(b);
                }));
    }
  }
}

}  // namespace
}  // namespace braid::kv
