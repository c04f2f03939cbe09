// SPDX-License-Identifier: Apache-2.0
#include "engine/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace braid::engine {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kMiB = 1 << 20;

// A token takes 64 KiB, a block of 16 a MiB.
const kv::Layout kLayout{4, 8192, DType::kBF16};

Settings many_sequences() {
  Settings settings;
  settings.scheduler.max_num_seqs = 1000;
  return settings;
}

DeviceMemory memory() { return {10000 * kMiB, 9500 * kMiB, 4000 * kMiB, 500 * kMiB, 100 * kMiB}; }

TEST(MemoryPlan, gives_the_cache_what_the_model_leaves_of_the_allowed_share) {
  const auto plan = plan_memory(many_sequences(), kLayout, 4096, memory());
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_EQ(plan->allowed, 9000 * kMiB);
  EXPECT_EQ(plan->blocks, 9000 - 4600);
  EXPECT_EQ(plan->cache, 4400 * kMiB);
  EXPECT_EQ(plan->tokens, 4096);
}

TEST(MemoryPlan, takes_no_more_than_sequences_can_use_and_no_more_than_is_free) {
  Settings few;
  few.scheduler.max_num_seqs = 2;
  EXPECT_EQ(plan_memory(few, kLayout, 4096, memory())->blocks, 2 * 256);
  DeviceMemory busy = memory();
  busy.free = 5000 * kMiB;
  EXPECT_EQ(plan_memory(many_sequences(), kLayout, 4096, busy)->blocks, 400);
  Settings all = many_sequences();
  all.cache.memory_utilization = 0.5;
  EXPECT_EQ(plan_memory(all, kLayout, 4096, memory())->blocks, 400);
}

TEST(MemoryPlan, says_what_a_model_takes_that_does_not_fit) {
  Settings settings = many_sequences();
  settings.cache.memory_utilization = 0.4;
  const auto plan = plan_memory(settings, kLayout, 4096, memory());
  ASSERT_FALSE(plan.ok());
  EXPECT_THAT(plan.error().message, HasSubstr("the model takes 4600 MiB (weights 4000 MiB, buffers 500 MiB, graphs 100 MiB), and "
                                              "--gpu-memory-utilization 0.40 allows 4000 MiB of the GPU's 10000 MiB, of which 9500 MiB are free"));
}

TEST(MemoryPlan, names_the_length_that_would_fit) {
  const auto plan = plan_memory(many_sequences(), kLayout, 100000, memory());
  ASSERT_FALSE(plan.ok());
  EXPECT_THAT(plan.error().message, HasSubstr("set --max-model-len to at most 70400"));
}

TEST(MemoryPlan, refuses_a_cache_of_given_size_that_does_not_fit) {
  Settings settings = many_sequences();
  settings.cache.kv_cache_memory_bytes = 5000 * kMiB;
  const auto plan = plan_memory(settings, kLayout, 4096, memory());
  ASSERT_FALSE(plan.ok());
  EXPECT_THAT(plan.error().message, HasSubstr("would take 5242880000 bytes, but only 4613734400 can be taken here"));
}

}  // namespace
}  // namespace braid::engine
