// SPDX-License-Identifier: Apache-2.0
// What followers of the cache's events know, beside what the cache holds.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "engine/testing/harness.h"

namespace braid::engine {
namespace {

using testing::Harness;
using testing::HarnessOptions;
using testing::prompt_of;

using Digest = std::string;

Digest digest(const prefix::BlockHash& h) { return h.hex(); }

// Follows the events as an index of a router would, and watches over their order.
class Follower final : public events::Publisher {
 public:
  void publish(std::vector<kv::CacheEvent> events) override {
    EXPECT_FALSE(events.empty());
    for (const auto& e : events) std::visit(*this, e);
  }
  std::string endpoint() const override { return {}; }
  std::string replay_endpoint() const override { return {}; }

  void operator()(const kv::BlocksStored& e) {
    if (e.medium == kv::Medium::kHost) {
      for (const auto& block : e.blocks) {
        EXPECT_TRUE(known.contains(digest(block))) << "only what the device still holds goes to the host";
        EXPECT_TRUE(in_host.insert(digest(block)).second) << "stored once";
      }
      return;
    }
    Digest parent = e.parent.size == 0 ? "" : digest(e.parent);
    EXPECT_TRUE(parent.empty() || known.contains(parent) || in_host.contains(parent)) << "parents come before children";
    EXPECT_EQ(e.tokens.size(), e.blocks.size() * 4);
    for (const auto& block : e.blocks) {
      EXPECT_FALSE(known.contains(digest(block))) << "stored once";
      known[digest(block)] = parent;
      hashes[digest(block)] = block;
      parent = digest(block);
    }
    stored += e.blocks.size();
  }
  void operator()(const kv::BlocksRemoved& e) {
    for (const auto& block : e.blocks) {
      if (e.medium == kv::Medium::kHost) {
        EXPECT_EQ(in_host.erase(digest(block)), 1u) << "only what was stored is removed";
        continue;
      }
      EXPECT_EQ(known.erase(digest(block)), 1u) << "only what was stored is removed";
      if (in_host.contains(digest(block))) continue;
      for (const auto& [child, parent] : known) EXPECT_NE(parent, digest(block)) << "children go before parents";
    }
    removed += e.blocks.size();
  }
  void operator()(const kv::AllBlocksCleared&) {
    known.clear();
    in_host.clear();
    ++clears;
  }

  std::map<Digest, Digest> known;  // of the device, to the parent
  std::set<Digest> in_host;
  std::map<Digest, prefix::BlockHash> hashes;
  std::size_t stored = 0, removed = 0, clears = 0;
};

protocol::SamplingParams greedy(int max_tokens) {
  protocol::SamplingParams params;
  params.temperature = 0;
  params.max_tokens = max_tokens;
  return params;
}

TEST(CacheEvents, tell_the_tokens_of_a_sequence_block_by_block) {
  Follower follower;
  Harness h({.events = &follower});
  h.submit(prompt_of(10), greedy(4));
  h.run_until_idle();
  EXPECT_EQ(follower.stored, 3u) << "13 tokens were computed";
  h.submit(prompt_of(10), greedy(4));
  h.run_until_idle();
  EXPECT_EQ(follower.stored, 3u) << "what is known is not told again";
  h.loop.reset_prefix_cache();
  EXPECT_EQ(follower.clears, 1u);
}

TEST(CacheEvents, follow_the_cache_through_evictions_preemptions_and_clearings) {
  std::mt19937 random(7);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int round = 0; round < 20; ++round) {
    Follower follower;
    Harness h({.limits = {.max_batched_tokens = 24, .max_sequences = 5}, .blocks = 16, .max_model_len = 60, .events = &follower,
               .host_blocks = round % 2 * 12});
    for (int step = 0; step < 300; ++step) {
      if (below(3) == 0) h.submit(prompt_of(1 + below(30), 1 + below(3)), greedy(1 + below(20)));
      if (below(60) == 0) h.loop.reset_prefix_cache();
      h.loop.step();
      for (const auto& [name, hash] : follower.hashes) {
        ASSERT_EQ(h.loop.pool().find(hash) != kv::kNoBlock, follower.known.contains(name));
        ASSERT_EQ(h.tier.find(hash, 0) != kv::HostTier::kNoSlot, follower.in_host.contains(name));
      }
    }
    h.run_until_idle();
    EXPECT_GT(follower.removed, 20u);
  }
}

}  // namespace
}  // namespace braid::engine
