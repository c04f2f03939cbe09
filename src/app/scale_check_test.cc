// SPDX-License-Identifier: Apache-2.0
#include "app/scale_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace braid::app {
namespace {

using ::testing::HasSubstr;

ScaleFacts room(std::int64_t rank_mib, std::int64_t free_mib) { return {rank_mib << 20, {{"this host", 2, free_mib << 20}}}; }

struct Deployment {
  Deployment() {
    settings.parallel.size = 2;
    settings.parallel.enable_expert_parallel = true;
    config.moe.experts = 8;
  }
  std::string refusal(int ranks, const ScaleFacts& facts = room(100, 1000)) const {
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
  EXPECT_THAT(d.refusal(4, room(600, 1000)), HasSubstr("2 more ranks need about 1200 MiB of memory, and 1000 MiB are free"));
  EXPECT_EQ(d.refusal(1, room(600, 0)), "") << "fewer ranks need no memory";
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

TEST(ScaleCheck, ADeploymentOfSeveralServersStaysAsItIsAndOneOfSeveralHostsChanges) {
  Deployment d;
  d.settings.parallel.size_local = 1;
  EXPECT_EQ(d.refusal(3), "");
  d.settings.parallel.size_local.reset();
  d.settings.parallel.rank = 0;
  EXPECT_THAT(d.refusal(3), HasSubstr("the ranks of several servers"));
}

TEST(ScaleCheck, RanksGoToTheHostWithTheFewestThatHasRoom) {
  ScaleFacts facts = room(100, 250);
  facts.hosts.push_back({"b", 1, std::int64_t{1000} << 20});
  facts.hosts.push_back({"c", 0, std::int64_t{1000} << 20, false});
  using Places = std::vector<std::size_t>;
  EXPECT_EQ(place_ranks(2, facts).value(), (Places{1, 0}));
  EXPECT_EQ(place_ranks(6, facts).value(), (Places{1, 0, 1, 0, 1, 1})) << "this host has room for two";
  EXPECT_EQ(place_ranks(-1, facts).value(), Places{});
  EXPECT_THAT(place_ranks(13, facts).error().message,
              HasSubstr("13 more ranks need about 1300 MiB of memory, and 250 MiB are free on this host, 1000 MiB are free on b, c is gone; ask for fewer"));
}

}  // namespace
}  // namespace braid::app
