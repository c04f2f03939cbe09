// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "moe/expert_parallel.h"
#include "moe/prepare_local.h"
#include "ops/reference/fixture.h"

namespace braid::moe {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class PrepareLocalTest : public testing::Test {
 protected:
  ops::reference::NoStream stream_;
};

TEST_F(PrepareLocalTest, SortsTokensByExpertAndKnowsTheWayBack) {
  const std::vector<std::int32_t> ids{2, 0, 0, 3, 2, 3};  // three tokens, two choices each
  const std::vector<float> weights{1, 10, 100, 1000, 1, 1};
  PrepareLocal prepare(4, 2, false, 8, &ops::reference::kArrange, &ops::reference::kCombine, stream_);
  ASSERT_TRUE(prepare.send({}, {3, 2, ids.data(), weights.data()}, 0).ok());
  const Dispatched d = prepare.receive().value();
  EXPECT_THAT(d.offsets, ElementsAre(0, 2, 2, 4, 6));
  EXPECT_THAT(d.row_token, ElementsAre(0, 1, 0, 2, 1, 2));
  const std::vector<float> results{1, 2, 3, 4, 5, 6};
  ASSERT_TRUE(prepare.send_back({results.data(), 6, 1}).ok());
  std::vector<float> hidden{0.5f, 0, 0};
  ASSERT_TRUE(prepare.collect({hidden.data(), 3, 1}).ok());
  EXPECT_THAT(hidden, ElementsAre(0.5f + 3 + 10 * 1, 100 * 2 + 1000 * 5, 4 + 6));
}

TEST_F(PrepareLocalTest, AddsTheSharedExpertLast) {
  const std::vector<std::int32_t> ids{1, 0};
  const std::vector<float> weights{2, 3};
  PrepareLocal prepare(2, 1, true, 8, &ops::reference::kArrange, &ops::reference::kCombine, stream_);
  ASSERT_TRUE(prepare.send({}, {2, 1, ids.data(), weights.data()}, 0).ok());
  ASSERT_TRUE(prepare.receive().ok());
  const std::vector<float> results{1, 10, 100, 1000};
  ASSERT_TRUE(prepare.send_back({results.data(), 4, 1}).ok());
  std::vector<float> hidden{0, 0};
  ASSERT_TRUE(prepare.collect({hidden.data(), 2, 1}).ok());
  EXPECT_THAT(hidden, ElementsAre(20 + 100, 3 + 1000));
}

TEST_F(PrepareLocalTest, WeighsTheSharedExpertWhereTheLayerHasAGate) {
  const std::vector<std::int32_t> ids{1, 0};
  const std::vector<float> weights{2, 3}, shared{0.5f, 0.25f};
  PrepareLocal prepare(2, 1, true, 8, &ops::reference::kArrange, &ops::reference::kCombine, stream_);
  Routing routing{2, 1, ids.data(), weights.data()};
  routing.shared_weights = shared.data();
  ASSERT_TRUE(prepare.send({}, routing, 0).ok());
  ASSERT_TRUE(prepare.receive().ok());
  const std::vector<float> results{1, 10, 100, 1000};
  ASSERT_TRUE(prepare.send_back({results.data(), 4, 1}).ok());
  std::vector<float> hidden{0, 0};
  ASSERT_TRUE(prepare.collect({hidden.data(), 2, 1}).ok());
  EXPECT_THAT(hidden, ElementsAre(20 + 50, 3 + 250));
}

TEST_F(PrepareLocalTest, TakesAnEmptyStep) {
  PrepareLocal prepare(4, 2, false, 8, &ops::reference::kArrange, &ops::reference::kCombine, stream_);
  ASSERT_TRUE(prepare.send({}, {0, 2, nullptr, nullptr}, 0).ok());
  EXPECT_TRUE(prepare.receive()->row_token.empty());
  EXPECT_EQ(prepare.receive()->offsets.back(), 0);
}

TEST(All2All, KnowsVllmsNamesAndSaysWhichThereAre) {
  EXPECT_EQ(parse_all2all("deepep_low_latency").value(), All2All::kLowLatency);
  EXPECT_THAT(parse_all2all("nvshmem").error().message, HasSubstr("'nvshmem' is not one of auto, allgather_reducescatter"));
  EXPECT_EQ(parse_all2all("deepep_high_throughput").value(), All2All::kHighThroughput);
  EXPECT_EQ(parse_all2all("pplx").value(), All2All::kFlexible);
  EXPECT_EQ(name_of(All2All::kAllGatherReduceScatter), "allgather_reducescatter");
}

std::string taken(const Choice& choice) {
  std::string text;
  for (const Pair& pair : choice.pairs) {
    if (pair.reason.empty()) text += std::string(pair.prepare) + " with " + std::string(pair.experts) + ";";
  }
  return text;
}

std::string reason(const Choice& choice, std::string_view prepare, std::string_view experts) {
  for (const Pair& pair : choice.pairs) {
    if (pair.prepare == prepare && pair.experts == experts) return pair.reason;
  }
  return "no such pair";
}

TEST(Pairs, ALayerGetsOnePairThatAgreesOnTheFormatAndEveryOtherHasAReason) {
  const Messages four{4, 8, true, 128, 14336};
  EXPECT_EQ(taken(choose_backend(All2All::kAuto, {}).value()), "local with grouped;");
  EXPECT_EQ(taken(choose_backend(All2All::kHighThroughput, four).value()), "high_throughput with grouped;");
  const Choice flexible = choose_backend(All2All::kFlexible, four).value();
  EXPECT_EQ(taken(flexible), "flexible with batched;");
  EXPECT_EQ(flexible.pairs.size(), 10u);
  EXPECT_EQ(reason(flexible, "local", "grouped"), "the experts are spread over 4 ranks");
  EXPECT_EQ(reason(flexible, "low_latency", "grouped"), "--all2all-backend is flexible");
  EXPECT_EQ(reason(flexible, "flexible", "grouped"), "rows come padded, grouped experts take them ragged");
}

TEST(Pairs, AutoGoesByTheSizeOfMessagesAndSaysSo) {
  const Choice small = choose_backend(All2All::kAuto, {4, 8, false, 1, 512}).value();
  EXPECT_EQ(taken(small), "low_latency with grouped;");
  EXPECT_EQ(small.why, "auto takes low_latency for messages of up to 512 bytes over a network");
  EXPECT_EQ(taken(choose_backend(All2All::kAuto, {4, 8, false, 4096, 14336}).value()), "high_throughput with grouped;");
}

TEST(Pairs, MoreExpertsATokenThanTicketsHoldIsAnError) {
  EXPECT_THAT(choose_backend(All2All::kLowLatency, {2, 33, true, 1, 1}).error().message,
              HasSubstr("a token has 33 experts, at most 32 can be addressed"));
}

}  // namespace
}  // namespace braid::moe
