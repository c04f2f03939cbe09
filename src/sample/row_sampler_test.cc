// SPDX-License-Identifier: Apache-2.0
#include "sample/row_sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "sample/random.h"
#include "sample/testing/literal_matcher.h"

namespace braid::sample {
namespace {

using protocol::SamplingParams;

SamplingParams greedy() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

std::int32_t sample_once(RowSampler& sampler, const std::vector<float>& logits) {
  Scratch scratch;
  return sampler.sample(logits, scratch);
}

using testing::LiteralMatcher;

TEST(RowSampler, takes_the_likeliest_token_when_greedy) {
  RowSampler sampler(greedy(), {}, {});
  EXPECT_EQ(sample_once(sampler, {1, 4, 2, 3}), 1);
}

TEST(RowSampler, restricts_to_allowed_tokens) {
  auto params = greedy();
  params.allowed_token_ids = {3, 0, 99};
  RowSampler sampler(params, {}, {});
  EXPECT_EQ(sample_once(sampler, {1, 4, 2, 3}), 3);
}

TEST(RowSampler, adds_logit_bias_and_ignores_ids_outside_the_vocabulary) {
  auto params = greedy();
  params.logit_bias = {{0, 10.0f}, {1, -100.0f}, {-5, 1.0f}, {1000, 1.0f}};
  RowSampler sampler(params, {}, {});
  EXPECT_EQ(sample_once(sampler, {1, 4, 2, 3}), 0);
}

TEST(RowSampler, forbids_the_last_token_of_a_bad_word_after_its_beginning) {
  RowSampler sampler(greedy(), {}, {.bad_words = {{2}, {3, 1}}});
  EXPECT_EQ(sample_once(sampler, {1, 4, 9, 3}), 1) << "2 alone is always bad, 1 only after 3";
  ASSERT_TRUE(sampler.accept(3));
  EXPECT_EQ(sample_once(sampler, {1, 4, 9, 3}), 3);
  ASSERT_TRUE(sampler.accept(0));
  EXPECT_EQ(sample_once(sampler, {1, 4, 9, 3}), 1);
}

TEST(RowSampler, does_not_end_before_min_tokens) {
  auto params = greedy();
  params.min_tokens = 2;
  RowSampler sampler(params, {}, {.end_ids = {1}});
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(sample_once(sampler, {1, 4, 2, 3}), 3);
    ASSERT_TRUE(sampler.accept(3));
  }
  EXPECT_EQ(sample_once(sampler, {1, 4, 2, 3}), 1);
}

TEST(RowSampler, penalises_repetition_in_prompt_and_output) {
  auto params = greedy();
  params.repetition_penalty = 2;
  const std::vector<std::int32_t> prompt = {1, 1};
  RowSampler sampler(params, prompt, {});
  EXPECT_EQ(sample_once(sampler, {1, 4, 2, 3}), 3) << "4 / 2 < 3, once however often it occurs";
  ASSERT_TRUE(sampler.accept(3));
  EXPECT_EQ(sample_once(sampler, {1, 4, 2, 3}), 1) << "4 / 2, 2, 3 / 2: the first of the largest";
  EXPECT_EQ(sample_once(sampler, {-9, -4, -9, -4.5f}), 1) << "negative logits are multiplied";
  EXPECT_EQ(sample_once(sampler, {-7, -4, -9, -4}), 0);
}

TEST(RowSampler, counts_output_tokens_only_for_presence_and_frequency) {
  auto params = greedy();
  params.frequency_penalty = 1;
  params.presence_penalty = 0.5f;
  const std::vector<std::int32_t> prompt = {0, 0, 0, 0};
  RowSampler sampler(params, prompt, {});
  EXPECT_EQ(sample_once(sampler, {4, 1, 2.8f, 1}), 0);
  ASSERT_TRUE(sampler.accept(0));
  EXPECT_EQ(sample_once(sampler, {4, 1, 2.8f, 1}), 2) << "4 - 1 - 0.5 < 2.8";
  EXPECT_EQ(sample_once(sampler, {4, 1, 2.4f, 1}), 0);
  ASSERT_TRUE(sampler.accept(0));
  EXPECT_EQ(sample_once(sampler, {4, 1, 1.6f, 1}), 2) << "4 - 2 - 0.5 < 1.6";
}

TEST(RowSampler, follows_a_grammar_and_refuses_what_it_does_not_allow) {
  RowSampler sampler(greedy(), {}, {.grammar = std::make_unique<LiteralMatcher>(
                                        std::vector<std::int32_t>{2, 40})});
  std::vector<float> logits(50, 0.0f);
  logits[7] = 9;
  EXPECT_EQ(sample_once(sampler, logits), 2);
  EXPECT_FALSE(sampler.accept(7));
  ASSERT_TRUE(sampler.accept(2));
  EXPECT_EQ(sample_once(sampler, logits), 40);
  ASSERT_TRUE(sampler.accept(40));
  EXPECT_TRUE(sampler.complete());
  EXPECT_EQ(sample_once(sampler, logits), -1) << "nothing is allowed any more";
}

TEST(RowSampler, draws_depend_on_seed_and_position_only) {
  const std::vector<float> logits(1000, 0.0f);
  const auto draw = [&](std::uint64_t seed) {
    RowSampler sampler(SamplingParams{}, {}, {.seed = seed});
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < 20; ++i) {
      tokens.push_back(sample_once(sampler, logits));
      EXPECT_EQ(sample_once(sampler, logits), tokens.back()) << "sampling does not advance";
      EXPECT_TRUE(sampler.accept(tokens.back()));
    }
    return tokens;
  };
  EXPECT_EQ(draw(7), draw(7));
  EXPECT_NE(draw(7), draw(8));
  const auto tokens = draw(7);
  EXPECT_GT(std::set<std::int32_t>(tokens.begin(), tokens.end()).size(), 15u);
}

}  // namespace
}  // namespace braid::sample
