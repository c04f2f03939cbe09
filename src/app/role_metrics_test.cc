// SPDX-License-Identifier: Apache-2.0
#include "app/role_metrics.h"

#include <gtest/gtest.h>

namespace braid::app {
namespace {

std::string page(double prompts, double outputs, double requests, double gap_sum, double fast, double slow) {
  const auto line = [](const std::string& name, double value) { return name + " " + std::to_string(value) + "\n"; };
  return line("vllm:num_requests_running{engine=\"0\"}", 3) + line("vllm:num_requests_waiting{engine=\"0\"}", 2) +
         line("vllm:kv_cache_usage_perc{engine=\"0\"}", 0.5) + line("vllm:prompt_tokens_by_source_total{source=\"local_compute\"}", prompts) +
         line("vllm:prompt_tokens_by_source_total{source=\"local_cache_hit\"}", 1e6) + line("vllm:generation_tokens_total", outputs) +
         line("vllm:request_prompt_tokens_count", requests) + line("vllm:inter_token_latency_seconds_sum", gap_sum) +
         line("vllm:inter_token_latency_seconds_count", outputs) + line("vllm:time_to_first_token_seconds_bucket{le=\"0.1\"}", fast) +
         line("vllm:time_to_first_token_seconds_bucket{le=\"0.5\"}", slow) + line("vllm:time_to_first_token_seconds_bucket{le=\"+Inf\"}", slow);
}

TEST(RoleMetrics, TellsWhatHappenedBetweenTwoLooks) {
  RoleMetrics metrics(0.3);
  EXPECT_FALSE(metrics.look(0, {{"a", page(1000, 100, 10, 1, 5, 10)}, {"b", page(0, 0, 0, 0, 0, 0)}}, 2, {}));
  const auto seen = metrics.look(10, {{"a", page(3000, 300, 20, 3, 10, 20)}, {"b", page(2000, 200, 10, 2, 5, 10)}}, 2, {});
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->ready, 2);
  EXPECT_EQ(seen->waiting, 4);
  EXPECT_DOUBLE_EQ(seen->cache_use, 0.5);
  EXPECT_DOUBLE_EQ(seen->prompt_rate, 400);
  EXPECT_DOUBLE_EQ(seen->output_rate, 40);
  EXPECT_DOUBLE_EQ(seen->arrivals, 2);
  EXPECT_DOUBLE_EQ(seen->prompt_tokens, 200);
  EXPECT_DOUBLE_EQ(*seen->token_time, 0.01);
  EXPECT_NEAR(*seen->first_token, 0.42, 1e-9);
  EXPECT_EQ(seen->started, 20);
  EXPECT_NEAR(seen->late, 5, 1e-9);  // half of the ten between 0.1 and 0.5 s
}

TEST(RoleMetrics, AReplicaMayHaveManyPages) {
  RoleMetrics metrics(0.3);
  std::map<std::string, std::string> first, then;
  for (const char* name : {"a-0", "a-1", "a-2", "a-3", "b-0", "b-1", "b-2", "b-3", "c-0"}) {
    first[name] = page(1000, 100, 10, 1, 5, 10);
    then[name] = page(2000, 200, 20, 2, 10, 20);
  }
  metrics.look(0, first, 9, {.pages = 4});
  const auto seen = metrics.look(10, then, 9, {.pages = 4});
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->ready, 2);
  EXPECT_DOUBLE_EQ(seen->prompt_rate, 900);
  EXPECT_DOUBLE_EQ(seen->cache_use, 0.5);
  EXPECT_FALSE(metrics.look(20, {{"a-0", page(3000, 300, 30, 3, 15, 30)}}, 1, {.pages = 4}));
}

TEST(RoleMetrics, KnowsNothingWhenAnEngineIsSilentOrBeganAnew) {
  RoleMetrics metrics(0.3);
  const std::string old = page(1000, 100, 10, 1, 5, 10), now = page(2000, 200, 20, 2, 10, 20);
  metrics.look(0, {{"a", old}, {"b", old}}, 2, {});
  EXPECT_FALSE(metrics.look(10, {{"a", now}}, 2, {}));
  EXPECT_FALSE(metrics.look(20, {}, 0, {}));
  EXPECT_FALSE(metrics.look(30, {{"a", "no metrics"}}, 1, {}));
  metrics.look(40, {{"a", now}}, 1, {});
  EXPECT_FALSE(metrics.look(50, {{"a", old}}, 1, {}));
}

}  // namespace
}  // namespace braid::app
