// SPDX-License-Identifier: Apache-2.0
#include "moe/placement/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
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

TEST(Placement, AroundALinearOneIsTheSame) {
  for (const auto& [experts, ranks, redundant] : {std::tuple{8, 2, 0}, {7, 3, 0}, {4, 2, 2}, {128, 4, 32}, {3, 8, 0}}) {
    const Placement linear = Placement::linear(experts, ranks, redundant);
    std::vector<std::vector<std::int32_t>> held;
    for (int r = 0; r < ranks; ++r) held.emplace_back(linear.experts_of(r).begin(), linear.experts_of(r).end());
    EXPECT_EQ(Placement::around(experts, held, redundant), linear) << experts << " on " << ranks;
  }
}

TEST(Placement, SurvivorsKeepWhatTheyHaveAndShareWhatIsMissing) {
  const Placement p = Placement::around(8, {{0, 1}, {2, 3}, {6, 7}});
  EXPECT_EQ(p.slots_per_rank(), 3);
  EXPECT_THAT(p.experts_of(0), ElementsAre(0, 1, 4));
  EXPECT_THAT(p.experts_of(1), ElementsAre(2, 3, 5));
  EXPECT_THAT(p.experts_of(2), ElementsAre(6, 7, -1));
}

TEST(Placement, OneThatComesBackTakesItsShareWithoutAnyLoading) {
  const Placement p = Placement::around(8, {{0, 1, 4}, {2, 3, 5}, {4, 5}, {6, 7, -1}});
  EXPECT_THAT(p.experts_of(0), ElementsAre(0, 1));
  EXPECT_THAT(p.experts_of(1), ElementsAre(2, 3));
  EXPECT_THAT(p.experts_of(2), ElementsAre(4, 5));
  EXPECT_THAT(p.experts_of(3), ElementsAre(6, 7));
}

TEST(Placement, ANewcomerWithNothingGetsAnEqualShare) {
  const Placement p = Placement::around(6, {{0, 1, 2}, {3, 4, 5}, {}});
  EXPECT_EQ(p.slots_per_rank(), 2);
  EXPECT_THAT(p.experts_of(2), ElementsAre(2, 5));
}

TEST(Placement, NewcomersWithTheShareOfALargerGroupMakeRoomForWhatNobodyHoldsAnyMore) {
  const Placement p = Placement::around(8, {{0, 1, 2, 3}, {4, 5, 6, 7}, {4, 5}, {6, 7}});
  EXPECT_THAT(p.experts_of(0), ElementsAre(0, 1));
  EXPECT_THAT(p.experts_of(1), ElementsAre(4, 2));
  EXPECT_THAT(p.experts_of(2), ElementsAre(5, 3));
  EXPECT_THAT(p.experts_of(3), ElementsAre(6, 7));
}

TEST(Placement, WhateverRanksHoldEveryExpertHasASlotAfterwards) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    const int experts = 1 + static_cast<int>(random() % 20), ranks = 1 + static_cast<int>(random() % 9), redundant = static_cast<int>(random() % 4);
    std::vector<std::vector<std::int32_t>> held(static_cast<std::size_t>(ranks));
    for (auto& theirs : held) {
      const std::uint32_t share = random() % 100;
      for (std::int32_t e = 0; e < experts; ++e) {
        if (random() % 100 < share) theirs.push_back(e);
      }
    }
    const Placement p = Placement::around(experts, held, redundant);
    EXPECT_EQ(p.slots_per_rank(), (experts + redundant + ranks - 1) / ranks);
    for (std::int32_t e = 0; e < experts; ++e) EXPECT_FALSE(p.slots_of(e).empty()) << experts << " experts on " << ranks << " ranks";
  }
}

TEST(Placement, ReplicasThatWereLostAreMadeAgainElsewhere) {
  const Placement p = Placement::around(4, {{0, 1}, {2, 3}}, 2);
  EXPECT_EQ(p.slots_per_rank(), 3);
  EXPECT_THAT(p.slots_of(0), ElementsAre(0, 5));
  EXPECT_THAT(p.slots_of(2), ElementsAre(2, 3));
}

}  // namespace
}  // namespace braid::moe
