// SPDX-License-Identifier: Apache-2.0
#include "kv/event_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kv/block_pool.h"

namespace braid::kv {
namespace {

using ::testing::ElementsAre;

prefix::BlockHash hash_of(int content) {
  prefix::BlockHash hash;
  hash.size = 16;
  hash.bytes[0] = static_cast<std::uint8_t>(content);
  return hash;
}

std::vector<int> contents(const std::vector<prefix::BlockHash>& blocks) {
  std::vector<int> all;
  for (const auto& b : blocks) all.push_back(b.bytes[0]);
  return all;
}

TEST(EventLog, joins_blocks_that_follow_each_other) {
  EventLog log;
  const std::vector<std::int32_t> first = {1, 2}, second = {3, 4};
  log.stored({}, hash_of(1), first, "salt");
  log.stored(hash_of(1), hash_of(2), second, "salt");
  log.stored(hash_of(1), hash_of(3), first, "salt");
  const auto events = log.take();
  ASSERT_EQ(events.size(), 2u);
  const auto& a = std::get<BlocksStored>(events[0]);
  EXPECT_THAT(contents(a.blocks), ElementsAre(1, 2));
  EXPECT_THAT(a.tokens, ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(a.parent.size, 0);
  EXPECT_EQ(a.salt, "salt");
  const auto& b = std::get<BlocksStored>(events[1]);
  EXPECT_EQ(b.parent, hash_of(1));
  EXPECT_EQ(b.salt, "") << "only a sequence's first block has one";
  EXPECT_TRUE(log.take().empty());
}

TEST(EventLog, a_block_is_removed_with_the_last_of_equal_content) {
  EventLog log;
  BlockPool pool(2, &log);
  EXPECT_TRUE(pool.name(pool.allocate(), hash_of(1)));
  EXPECT_FALSE(pool.name(pool.allocate(), hash_of(1)));
  pool.release(0);
  pool.release(1);
  pool.allocate();
  EXPECT_TRUE(log.take().empty());
  pool.allocate();
  const auto events = log.take();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_THAT(contents(std::get<BlocksRemoved>(events[0]).blocks), ElementsAre(1));
}

TEST(EventLog, order_is_kept_between_kinds) {
  EventLog log;
  const std::vector<std::int32_t> tokens = {1};
  log.removed(hash_of(1));
  log.removed(hash_of(2));
  log.stored({}, hash_of(1), tokens, "");
  log.removed(hash_of(1));
  log.cleared();
  const auto events = log.take();
  ASSERT_EQ(events.size(), 4u);
  EXPECT_THAT(contents(std::get<BlocksRemoved>(events[0]).blocks), ElementsAre(1, 2));
  EXPECT_TRUE(std::holds_alternative<BlocksStored>(events[1]));
  EXPECT_TRUE(std::holds_alternative<BlocksRemoved>(events[2]));
  EXPECT_TRUE(std::holds_alternative<AllBlocksCleared>(events[3]));
}

}  // namespace
}  // namespace braid::kv
