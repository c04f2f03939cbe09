// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <cmath>

#include "ops/reference/fixture.h"

namespace braid::ops::reference {
namespace {

using ::testing::ElementsAre;

struct Routed {
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
};

Routed route(const Route::Problem& problem,
             std::vector<float> logits,
             std::vector<float> bias = {}) {
  NoStream stream;
  Routed routed;
  const auto tokens = static_cast<std::int64_t>(logits.size()) / problem.experts;
  routed.ids.resize(static_cast<std::size_t>(tokens * problem.top_k));
  routed.weights.resize(routed.ids.size());
  Route::Args args;
  args.problem = &problem;
  args.logits = {logits.data(), tokens, problem.experts};
  args.bias = bias.empty() ? nullptr : bias.data();
  args.ids = routed.ids.data();
  args.weights = routed.weights.data();
  kRoute.run(args, stream);
  return routed;
}

const float kLog2 = std::log(2.0f);

TEST(Route, SoftmaxWeightsAreNotNormalisedUnlessAsked) {
  // exp: 1 2 4 1, sum 8.
  const std::vector<float> logits = {0, kLog2, 2 * kLog2, 0};
  auto r = route({.experts = 4, .top_k = 2}, logits);
  EXPECT_THAT(r.ids, ElementsAre(2, 1));
  EXPECT_NEAR(r.weights[0], 0.5, 1e-6);
  EXPECT_NEAR(r.weights[1], 0.25, 1e-6);
  r = route({.experts = 4, .top_k = 2, .normalise = true, .scale = 3}, logits);
  EXPECT_NEAR(r.weights[0], 2, 1e-6);
  EXPECT_NEAR(r.weights[1], 1, 1e-6);
}

TEST(Route, TheBiasChoosesButDoesNotWeigh) {
  auto r = route({.experts = 3, .top_k = 1, .scoring = Scoring::kSigmoid, .scale = 2.5f},
                 {0, std::log(3.0f), 0},
                 {0, 0, 0.5f});
  EXPECT_THAT(r.ids, ElementsAre(2));
  EXPECT_NEAR(r.weights[0], 0.5 * 2.5, 1e-6);
}

TEST(Route, TheLastLogitCanBeTheSharedExpertsGate) {
  NoStream stream;
  const Route::Problem problem{.experts = 2, .top_k = 1, .shared_gate = true};
  const std::vector<float> logits = {1, 0, std::log(3.0f), 0, 1, -200};
  std::int32_t ids[2];
  float weights[2], shared[2];
  kRoute.run({&problem, {logits.data(), 2, 3}, nullptr, ids, weights, shared}, stream);
  EXPECT_EQ(ids[0], 0);
  EXPECT_EQ(ids[1], 1);
  EXPECT_NEAR(shared[0], 0.75, 1e-6);
  EXPECT_NEAR(shared[1], 0, 1e-37);
}

TEST(Route, TiesGoToTheLowerId) {
  EXPECT_THAT(route({.experts = 5, .top_k = 3}, {1, 2, 1, 2, 1}).ids, ElementsAre(1, 3, 0));
}

TEST(Route, GroupsRankByTheirMaximum) {
  // Groups {3, 0} {2, 2.5} {2.9, 2.8}: the first and the third stay.
  EXPECT_THAT(
      route({.experts = 6, .top_k = 3, .groups = 3, .topk_groups = 2}, {3, 0, 2, 2.5f, 2.9f, 2.8f})
          .ids,
      ElementsAre(0, 4, 5));
}

TEST(Route, GroupsRankByTheSumOfTheirTwoBest) {
  // Sigmoid rises with the logit: sums put {2, 2.5} before {3, -9}.
  const Route::Problem problem{.experts = 6,
                               .top_k = 2,
                               .groups = 3,
                               .topk_groups = 1,
                               .scoring = Scoring::kSigmoid,
                               .group_score = GroupScore::kSumOfTopTwo};
  EXPECT_THAT(route(problem, {3, -9, 2, 2.5f, -1, 0}).ids, ElementsAre(3, 2));
}

TEST(Route, EveryTokenIsRoutedAlone) {
  EXPECT_THAT(route({.experts = 2, .top_k = 1}, {1, 0, 0, 1, 2, 2}).ids, ElementsAre(0, 1, 0));
}

TEST(Combine, AddsWeightedRowsToWhatIsThere) {
  NoStream stream;
  std::vector<float> rows = {1, 2, 10, 20, 100, 200};
  std::vector<std::int32_t> slots = {2, 0, 1, 1};
  std::vector<float> weights = {0.5f, 2, 1, 3};
  std::vector<float> out = {1, 1, 0, 0};
  kCombine.run({f32(rows, 3, 2), slots.data(), weights.data(), 2, f32(out, 2, 2)}, stream);
  EXPECT_THAT(out, ElementsAre(53, 105, 40, 80));
}

}  // namespace
}  // namespace braid::ops::reference
