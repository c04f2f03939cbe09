// SPDX-License-Identifier: Apache-2.0
#include "moe/placement/balance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace braid::moe {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using Slots = std::vector<std::vector<std::int32_t>>;

const std::vector<double> kFirst{90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86};
const std::vector<double> kSecond{20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27};

BalancedSlots balanced(const std::vector<double>& loads, const Topology& t) {
  auto result = balance(loads, t);
  EXPECT_TRUE(result.ok()) << result.error().message;
  return std::move(result).value();
}

std::vector<double> loads_of(const BalancedSlots& b, const std::vector<double>& loads, int ranks) {
  return rank_loads(Placement(static_cast<int>(loads.size()), ranks, b.slot_expert), loads);
}

TEST(Balance, HierarchicalKeepsGroupsOnNodes) {
  const Topology t{16, 4, 2, 8};
  const auto first = balanced(kFirst, t), second = balanced(kSecond, t);
  EXPECT_THAT(first.slot_expert, ElementsAre(5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1));
  EXPECT_THAT(second.slot_expert, ElementsAre(7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1));
  EXPECT_THAT(first.expert_slots, ElementsAreArray(Slots{{12}, {15, 13}, {11}, {6}, {7, 5}, {0, 2}, {1}, {3}, {4}, {9}, {8, 10}, {14}}));
  EXPECT_THAT(second.expert_slots, ElementsAreArray(Slots{{13}, {15, 11}, {8}, {14}, {9}, {10, 12}, {2, 4}, {0}, {6, 3}, {7}, {1}, {5}}));
  EXPECT_THAT(loads_of(first, kFirst, 8), ElementsAre(121.5, 86.5, 125, 113, 147.5, 131.5, 156, 152));
  EXPECT_THAT(loads_of(second, kSecond, 8), ElementsAre(173, 179.5, 120.5, 172, 123, 152, 118.5, 117.5));
  EXPECT_NEAR(1 / balancedness(loads_of(first, kFirst, 8)), 1.2081, 5e-5);
  EXPECT_NEAR(1 / balancedness(loads_of(second, kSecond, 8)), 1.2422, 5e-5);
}

TEST(Balance, GlobalIgnoresNodesThatDoNotDivideTheGroups) {
  const Topology t{16, 3, 2, 8};
  const auto first = balanced(kFirst, t), second = balanced(kSecond, t);
  EXPECT_THAT(first.slot_expert, ElementsAre(10, 6, 10, 7, 0, 2, 11, 4, 5, 9, 5, 4, 8, 3, 1, 1));
  EXPECT_THAT(second.slot_expert, ElementsAre(1, 10, 2, 4, 5, 11, 5, 0, 6, 7, 6, 3, 8, 8, 9, 7));
  EXPECT_THAT(loads_of(first, kFirst, 8), ElementsAre(130.5, 95.5, 130, 138, 138.5, 134.5, 134, 132));
  EXPECT_THAT(loads_of(second, kSecond, 8), ElementsAre(123, 123, 125.5, 118.5, 172, 157.5, 172, 164.5));
  std::vector<std::size_t> copies;
  for (const auto& slots : second.expert_slots) copies.push_back(slots.size());
  EXPECT_THAT(copies, ElementsAre(1, 1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1));
}

TEST(Balance, AsManyItemsAsPacksKeepTheirOrder) {
  const auto b = balanced({1, 9, 3, 7}, {4, 1, 1, 4});
  EXPECT_THAT(b.slot_expert, ElementsAre(0, 1, 2, 3));
}

TEST(Balance, EveryExpertHasASlotAndRedundantSlotsNeverMakeItWorse) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const int ranks = 1 + static_cast<int>(random() % 8), per_rank = 2 + static_cast<int>(random() % 6);
    std::vector<double> loads(static_cast<std::size_t>(ranks * per_rank));
    for (double& l : loads) l = random() % 1000;
    const int experts = static_cast<int>(loads.size());
    const auto tight = balanced(loads, {experts, 1, 1, ranks});
    const auto roomy = balanced(loads, {experts + 2 * ranks, 1, 1, ranks});
    for (const auto* b : {&tight, &roomy}) {
      for (std::size_t e = 0; e < loads.size(); ++e) {
        ASSERT_FALSE(b->expert_slots[e].empty());
        for (const auto s : b->expert_slots[e]) ASSERT_EQ(b->slot_expert[static_cast<std::size_t>(s)], static_cast<std::int32_t>(e));
      }
    }
    const auto most = [&](const BalancedSlots& b) {
      double heaviest = 0;
      for (std::size_t e = 0; e < loads.size(); ++e) heaviest = std::max(heaviest, loads[e] / static_cast<double>(b.expert_slots[e].size()));
      return heaviest;
    };
    ASSERT_LE(most(roomy), most(tight));
  }
}

TEST(Balance, RefusesWhatCannotBe) {
  EXPECT_THAT(balance(kFirst, {10, 1, 1, 2}).error().message, HasSubstr("10 slots cannot hold 12 experts"));
  EXPECT_THAT(balance(kFirst, {13, 1, 1, 2}).error().message, HasSubstr("13 slots cannot be divided evenly by 2 ranks"));
  EXPECT_THAT(balance(kFirst, {15, 1, 2, 3}).error().message, HasSubstr("3 ranks cannot be divided evenly by 2 nodes"));
  EXPECT_THAT(balance(kFirst, {16, 5, 1, 2}).error().message, HasSubstr("12 experts cannot be divided evenly by 5 groups"));
  EXPECT_THAT(balance(std::vector<double>{1, -1}, {2, 1, 1, 1}).error().message, HasSubstr("load of expert 1 is -1"));
}

TEST(Balance, NoLoadIsBalanced) { EXPECT_EQ(balancedness(std::vector<double>{0, 0}), 1); }

TEST(Balance, ExpertsThatStayOnTheirRankKeepTheirSlots) {
  const Placement held(4, 2, {0, 1, 2, 3, 0, 1}), wanted(4, 2, {3, 1, 0, 2, 3, 0});
  const Placement kept = keep_in_place(held, wanted);
  EXPECT_THAT(kept.experts_of(0), ElementsAre(0, 1, 3));
  EXPECT_THAT(kept.experts_of(1), ElementsAre(3, 0, 2));
}

}  // namespace
}  // namespace braid::moe
