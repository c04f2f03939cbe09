// SPDX-License-Identifier: Apache-2.0
#include "engine/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/parse.h"
#include "engine/metrics.h"
#include "metrics/registry.h"

namespace braid::engine {
namespace {

using ::testing::HasSubstr;

TEST(Settings, are_set_by_the_flags_that_vllm_users_know) {
  Settings settings;
  const std::vector<std::string> flags = {"--block-size",
                                          "32",
                                          "--max_model_len",
                                          "16k",
                                          "--no-enable-prefix-caching",
                                          "--kv-cache-memory-bytes",
                                          "2GiB",
                                          "--scheduling-policy",
                                          "priority",
                                          "--max-logprobs",
                                          "-1"};
  const auto parsed = config::parse(settings, flags, {});
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(settings.cache.block_size, 32);
  EXPECT_EQ(settings.scheduler.max_model_len, 16000);
  EXPECT_FALSE(settings.cache.enable_prefix_caching);
  EXPECT_EQ(settings.cache.kv_cache_memory_bytes, std::int64_t{2} << 30);
  EXPECT_EQ(settings.scheduler.scheduling_policy, "priority");
  EXPECT_EQ(settings.max_logprobs, -1);
}

TEST(Settings, take_the_hash_seed_from_pythons_variable) {
  Settings settings;
  config::ParseOptions options;
  options.environment = [](const std::string& name) -> std::optional<std::string> {
    if (name == "PYTHONHASHSEED") return "42";
    return std::nullopt;
  };
  const auto parsed = config::parse(settings, std::vector<std::string>{}, options);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(settings.cache.prefix_caching_hash_seed, "42");
}

TEST(Settings, refuse_a_policy_that_does_not_exist) {
  Settings settings;
  const std::vector<std::string> flags = {"--scheduling-policy", "lottery"};
  EXPECT_FALSE(config::parse(settings, flags, {}).ok());
}

TEST(Metrics, carry_vllms_names) {
  Metrics metrics(4096);
  metrics.request_success.with({"stop"}).add(2);
  metrics.requests_running.set(3);
  metrics::Registry registry;
  registry.add(metrics, {{"model_name", "m"}, {"engine", "0"}});
  const std::string text = registry.text();
  EXPECT_THAT(text, HasSubstr("vllm:num_requests_running{model_name=\"m\",engine=\"0\"} 3"));
  EXPECT_THAT(text, HasSubstr("finished_reason=\"stop\"} 2"));
  EXPECT_THAT(text, HasSubstr("vllm:kv_cache_usage_perc"));
  EXPECT_THAT(text, HasSubstr("vllm:time_to_first_token_seconds_bucket"));
  EXPECT_THAT(text, HasSubstr("vllm:prefix_cache_hits_total"));
}

}  // namespace
}  // namespace braid::engine
