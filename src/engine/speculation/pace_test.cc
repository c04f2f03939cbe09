// SPDX-License-Identifier: Apache-2.0
#include "engine/speculation/pace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/speculation/make.h"
#include "engine/speculation/ngram_drafter.h"

namespace braid::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Up to eight rows cost as much as one; from there on each costs the same.
Costs flat_then_steep() { return {CostCurve({{1, 1.0}, {8, 1.0}, {16, 2.0}}), CostCurve({{1, 0.1}, {8, 0.1}, {16, 0.2}})}; }

TEST(CostCurve, is_linear_between_points_and_beyond_and_never_falls) {
  const CostCurve curve({{1, 2.0}, {4, 1.0}, {8, 6.0}});
  EXPECT_EQ(curve.at(1), 2.0);
  EXPECT_EQ(curve.at(4), 2.0);
  EXPECT_EQ(curve.at(6), 4.0);
  EXPECT_EQ(curve.at(10), 8.0);
  EXPECT_EQ(CostCurve().at(7), 0);
}

TEST(Pace, drafts_while_rows_are_cheap_and_rests_when_each_costs_its_share) {
  const Pace pace(3, flat_then_steep());
  EXPECT_EQ(pace.tokens(0), 0);
  EXPECT_EQ(pace.tokens(1), 3);
  EXPECT_EQ(pace.tokens(2), 3);
  EXPECT_EQ(pace.tokens(4), 1);
  EXPECT_EQ(pace.tokens(64), 0);
  EXPECT_EQ(pace.describe(64).substr(0, 4), "1-2:");
  EXPECT_THAT(pace.describe(64), HasSubstr("-64: 0"));
}

TEST(Pace, follows_what_comes_true) {
  Pace pace(3, flat_then_steep());
  for (int i = 0; i < 200; ++i) pace.observe(3, 1);
  EXPECT_EQ(pace.tokens(1), 1) << "the first draft is always right, the second never";
  for (int i = 0; i < 200; ++i) pace.observe(1, 0);
  EXPECT_EQ(pace.tokens(1), 0);
  int waited = 0;
  while (pace.decide(1) == 0) ASSERT_LT(++waited, 5000) << "it must come to be tried again";
  EXPECT_GT(waited, 50);
}

TEST(Pace, without_costs_keeps_to_the_batch_size_it_was_given) {
  const Pace pace(4, std::size_t{8});
  EXPECT_EQ(pace.describe(32), "1-8: 4, 9-32: 0");
}

TEST(NgramDrafter, says_what_followed_the_longest_and_latest_match) {
  const auto drafts = [](std::vector<std::int32_t> tokens, int shortest, int longest, int count) {
    const auto found = NgramDrafter(shortest, longest).follow(tokens, count);
    return std::vector<std::int32_t>(found.begin(), found.end());
  };
  EXPECT_THAT(drafts({1, 2, 3, 9, 1, 2}, 1, 3, 2), ElementsAre(3, 9));
  EXPECT_THAT(drafts({1, 2, 3, 9, 1, 2}, 1, 3, 9), ElementsAre(3, 9, 1, 2)) << "no more than there is";
  EXPECT_THAT(drafts({5, 1, 2, 7, 0, 2, 8, 5, 1, 2}, 1, 3, 1), ElementsAre(7)) << "the longest";
  EXPECT_THAT(drafts({1, 2, 7, 1, 2, 8, 1, 2}, 2, 2, 1), ElementsAre(8)) << "the latest";
  EXPECT_THAT(drafts({2, 7, 1, 2}, 2, 4, 3), IsEmpty());
  EXPECT_THAT(drafts({4}, 1, 2, 3), IsEmpty());
  EXPECT_THAT(drafts({4, 4, 4}, 1, 2, 3), ElementsAre(4));
}

TEST(SpeculativeSettings, say_what_is_missing) {
  SpeculativeSettings s;
  EXPECT_TRUE(check_speculation(s).ok());
  s.prompt_lookup_max = 3;
  EXPECT_THAT(check_speculation(s).error().message, HasSubstr("no method"));
  s.method = "ngram";
  EXPECT_THAT(check_speculation(s).error().message, HasSubstr("needs num_speculative_tokens"));
  s.num_speculative_tokens = 2;
  EXPECT_TRUE(check_speculation(s).ok());
  s.prompt_lookup_min = 4;
  EXPECT_THAT(check_speculation(s).error().message, HasSubstr("prompt_lookup_min 4 is above prompt_lookup_max 3"));
  s = {};
  s.method = "deepseek_mtp";
  EXPECT_TRUE(check_speculation(s).ok());
  EXPECT_EQ(s.tokens(), 1);
}

}  // namespace
}  // namespace braid::engine
