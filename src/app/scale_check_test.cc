// SPDX-License-Identifier: Apache-2.0
#include "app/scale_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace braid::app {
namespace {

using ::testing::HasSubstr;

constexpr ScaleFacts kRoom{std::int64_t{100} << 20, std::int64_t{1000} << 20};

struct Deployment {
  Deployment() {
    settings.parallel.size = 2;
    settings.parallel.enable_expert_parallel = true;
    config.moe.experts = 8;
  }
  std::string refusal(int ranks, const ScaleFacts& facts = kRoom) const {
    const Status status = check_scale(settings, config, ranks, facts);
    return status.ok() ? "" : status.error().message;
  }
  ServeSettings settings;
  model::Config config;
};

TEST(ScaleCheck, BoundsExpertsAndMemoryAreLookedAtBeforeAnythingIsDone) {
  const Deployment d;
  for (const int ranks : {1, 2, 3, 8}) EXPECT_EQ(d.refusal(ranks), "") << ranks;
  EXPECT_THAT(d.refusal(0), HasSubstr("0 is out of range; ask for 1 to 512"));
  EXPECT_THAT(d.refusal(513), HasSubstr("513 is out of range"));
  EXPECT_THAT(d.refusal(9), HasSubstr("9 ranks are more than the 8 experts"));
  EXPECT_THAT(d.refusal(4, {std::int64_t{600} << 20, std::int64_t{1000} << 20}), HasSubstr("2 more ranks need about 1200 MiB of memory, and 1000 MiB are free"));
  EXPECT_EQ(d.refusal(1, {std::int64_t{600} << 20, 0}), "") << "fewer ranks need no memory";
}

TEST(ScaleCheck, ReplicasMayBeMoreThanExperts) {
  Deployment d;
  d.settings.parallel.enable_expert_parallel = false;
  EXPECT_EQ(d.refusal(9), "");
}

TEST(ScaleCheck, BalancedExpertsMustDivideEvenly) {
  Deployment d;
  d.settings.parallel.enable_eplb = true;
  EXPECT_EQ(d.refusal(4), "");
  EXPECT_THAT(d.refusal(3), HasSubstr("cannot be divided evenly by 3"));
}

TEST(ScaleCheck, ADeploymentOfSeveralServersOrHostsStaysAsItIs) {
  Deployment d;
  d.settings.parallel.size_local = 1;
  EXPECT_THAT(d.refusal(3), HasSubstr("other hosts or servers"));
  d.settings.parallel.size_local.reset();
  d.settings.parallel.rank = 0;
  EXPECT_THAT(d.refusal(3), HasSubstr("other hosts or servers"));
}

}  // namespace
}  // namespace braid::app
