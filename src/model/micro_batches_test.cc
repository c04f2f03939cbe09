// SPDX-License-Identifier: Apache-2.0
#include "model/micro_batches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/step.h"

namespace braid::model {
namespace {

using testing::ElementsAre;

Batch batch_of(int prefill, int decode) {
  Batch b;
  for (int i = 0; i < prefill + decode; ++i) {
    b.token_ids.push_back(100 + i);
    b.positions.push_back(i);
    b.slots.push_back(10 * i);
  }
  for (int i = 0; i < decode; ++i) b.decode.push_back({prefill + i, nullptr});
  return b;
}

TEST(MicroBatches, APromptThatLiesInBothHalvesGoesOnInTheSecond) {
  Batch b = batch_of(7, 0);
  b.prefill = {{0, 2, 40, nullptr}, {2, 5, 8, nullptr}};
  std::array<Batch, 2> halves;
  split(b, halves);
  EXPECT_THAT(halves[0].token_ids, ElementsAre(100, 101, 102, 103));
  EXPECT_THAT(halves[1].slots, ElementsAre(40, 50, 60));
  ASSERT_EQ(halves[0].prefill.size(), 2u);
  EXPECT_EQ(halves[0].prefill[1].first_row, 2);
  EXPECT_EQ(halves[0].prefill[1].rows, 2);
  ASSERT_EQ(halves[1].prefill.size(), 1u);
  EXPECT_EQ(halves[1].prefill[0].first_row, 0);
  EXPECT_EQ(halves[1].prefill[0].rows, 3);
  EXPECT_EQ(halves[1].prefill[0].position, 10);
}

TEST(MicroBatches, DecodeRowsFollowTheirTokens) {
  Batch b = batch_of(3, 6);
  b.prefill = {{0, 3, 0, nullptr}};
  b.most_tokens = 20;
  std::array<Batch, 2> halves;
  split(b, halves);
  EXPECT_EQ(halves[0].prefill_rows(), 3);
  EXPECT_EQ(halves[0].decode.size(), 2u);
  EXPECT_EQ(halves[1].prefill_rows(), 0);
  ASSERT_EQ(halves[1].decode.size(), 4u);
  EXPECT_EQ(halves[1].decode[0].position, 5);
  EXPECT_EQ(halves[1].most_tokens, 10);
}

TEST(MicroBatches, ABatchWithoutTokensHasTwoEmptyHalves) {
  std::array<Batch, 2> halves;
  split({}, halves);
  EXPECT_EQ(halves[0].tokens() + halves[1].tokens(), 0);
}

// A step whose only sequence sees so many keys.
Step step_of(std::uint64_t key, const std::vector<ops::AttentionDecode::Row>& rows) {
  Step step;
  step.key = key;
  step.pages.push_back({{}, rows});
  return step;
}

TEST(MicroBatches, AStepIsRepeatedWhenBothHalvesAreAsBefore) {
  const std::vector<ops::AttentionDecode::Row> few{{nullptr, 9}}, more{{nullptr, 200}}, many{{nullptr, 3000}};
  const auto key = [](std::uint64_t whole, const auto& first, const auto& second) {
    const Step halves[] = {step_of(1, first), step_of(1, second)};
    return key_of(step_of(whole, first), halves);
  };
  EXPECT_NE(key(7, few, few), 0u);
  EXPECT_EQ(key(7, few, few), key(7, more, few));
  EXPECT_NE(key(7, few, few), key(8, few, few));
  EXPECT_NE(key(7, few, few), key(7, few, many));
  EXPECT_NE(key(7, few, many), key(7, many, few));
  EXPECT_NE(key(7, few, few), 7u) << "not the whole's own";
  EXPECT_EQ(key(0, few, few), 0u);
}

std::string text_of(const std::vector<Stage>& stages) {
  std::string text;
  for (const Stage& s : stages) {
    text += s.what == Stage::What::kEnter ? "enter" : s.what == Stage::What::kCompute ? "compute" : "finish";
    text += std::to_string(s.layer) + (s.lane == 0 ? "a " : "b ");
  }
  return text;
}

TEST(MicroBatches, WhileOneHalfsTokensTravelTheOtherComputes) {
  EXPECT_EQ(text_of(overlapped_stages(2)),
            "enter0a enter0b compute0a compute0b finish0a enter1a finish0b enter1b compute1a compute1b finish1a finish1b ");
}

}  // namespace
}  // namespace braid::model
