// SPDX-License-Identifier: Apache-2.0
#include "moe/placement/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace braid::moe {
namespace {

using testing::ElementsAre;

TEST(Placement, LinearGivesEveryRankItsShareAndPadsWhenExpertsDoNotDivide) {
  const Placement p = Placement::linear(7, 3);
  EXPECT_EQ(p.slots_per_rank(), 3);
  EXPECT_THAT(p.experts_of(0), ElementsAre(0, 1, 2));
  EXPECT_THAT(p.experts_of(2), ElementsAre(6, -1, -1));
  EXPECT_EQ(p.rank_of(p.slot_for(4, 0)), 1);
}

TEST(Placement, RedundantSlotsRepeatTheFirstExperts) {
  const Placement p = Placement::linear(4, 2, 2);
  EXPECT_THAT(p.experts_of(0), ElementsAre(0, 1, 2));
  EXPECT_THAT(p.experts_of(1), ElementsAre(3, 0, 1));
  EXPECT_THAT(p.slots_of(1), ElementsAre(1, 5));
}

TEST(Placement, TokensUseAllReplicasOfAnExpert) {
  const Placement p = Placement::linear(4, 2, 4);
  std::set<std::int32_t> used;
  for (int token = 0; token < 64; ++token) used.insert(p.slot_for(3, token));
  EXPECT_THAT(used, ElementsAre(3, 7));
}

TEST(Placement, EqualPlacementsHaveEqualChecksums) {
  EXPECT_EQ(Placement::linear(8, 2).checksum(), Placement::linear(8, 2).checksum());
  EXPECT_NE(Placement::linear(8, 2).checksum(), Placement::linear(8, 2, 2).checksum());
}

}  // namespace
}  // namespace braid::moe
