// SPDX-License-Identifier: Apache-2.0
// Experts move between ranks while a model computes: the logits stay those of one rank that moves
// nothing, bit for bit, in every format of weights, with the draft module's layer too.
#include "moe/placement/rebalance.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/lockstep.h"
#include "fabric/testing/local_bootstrap.h"
#include "moe/placement/balance.h"
#include "tests/ranks/decoding.h"
#include "tests/ranks/faulty_transport.h"
#include "tests/ranks/local_membership.h"
#include "tests/ranks/move_counter.h"
#include "tests/ranks/rotated.h"
#include "transport/shm/shm.h"

namespace braid {
namespace {

constexpr int kSteps = 40;
constexpr Duration kLong = std::chrono::seconds(60);

struct Case {
  const char* model;
  int ranks;
  int redundant;
  bool background = true;
  bool int8 = false;
  bool draft = false;
  DType compute = DType::kBF16;
  bool faulty = false;  // the medium of the weights reorders and repeats
};

Decoding decoding(const Case& c, const moe::ExpertParallel* experts) {
  return {c.model, {.compute = c.compute, .int8_activations = c.int8, .experts = experts, .draft_module = c.draft}};
}

class RebalancedModel : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(
    All, RebalancedModel,
    ::testing::Values(Case{"deepseek-v3", 2, 2}, Case{"deepseek-v3-fp8", 2, 2}, Case{"deepseek-v3-fp8", 4, 0, false},
                      Case{"qwen3-moe", 2, 0}, Case{"gpt-oss", 2, 2}, Case{"qwen3-moe-fp8", 4, 4}, Case{"qwen3-moe", 2, 2, true, true},
                      Case{"qwen3-moe", 2, 2, true, false, false, DType::kF32}, Case{"lexicon-30m", 2, 0, true, false, true},
                      Case{"lexicon-30m", 4, 4, false, true, true},
                      Case{"qwen3-moe", 3, 2, true, false, false, DType::kBF16, true}),
    [](const auto& info) {
      const Case& c = info.param;
      std::string name = std::string(c.model) + "_" + std::to_string(c.ranks) + "_ranks_" + std::to_string(c.redundant) + "_redundant" +
                         (c.background ? "" : "_at_once") + (c.int8 ? "_int8" : "") + (c.draft ? "_draft" : "") +
                         (c.compute == DType::kF32 ? "_float32" : "") + (c.faulty ? "_faulty" : "");
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

TEST_P(RebalancedModel, ComputesTheSameWhileExpertsMove) {
  const Case& c = GetParam();
  std::vector<std::vector<float>> expected;
  for (int r = 0; r < c.ranks; ++r) {
    Decoding alone = decoding(c, nullptr);
    expected.emplace_back();
    for (int step = 0; step < kSteps; ++step) alone.step(step, r, expected.back());
  }
  fabric::testing::run_ranks(c.ranks, [&](fabric::Bootstrap& b) {
    const auto transport = transport::shm::transport({.spin = Duration::zero()});
    auto second = transport::shm::transport({.spin = Duration::zero()});
    if (c.faulty) second = std::make_unique<fabric::testing::FaultyTransport>(std::move(second), static_cast<unsigned>(b.rank()), 0);
    const moe::ExpertParallel experts{&b, transport.get(), moe::All2All::kLowLatency, 8, true, c.redundant};
    Decoding subject = decoding(c, &experts);
    engine::testing::LocalMembership membership;
    engine::Lockstep lockstep(membership, *transport, kLong, [](fabric::Bootstrap&) { return Status::success(); });
    membership.announce(b);
    ASSERT_TRUE(lockstep.form().ok());
    moe::RebalanceOptions options{.window = 4, .interval = 4, .background = c.background, .timeout = kLong, .policy = testing::rotated};
    testing::MoveCounter counter;
    moe::Rebalancer rebalancer(*second, subject.model->mixtures(), *subject.stream, options, counter);
    ASSERT_TRUE(rebalancer.join(b).ok());
    std::vector<float> logits;
    int step = 0;
    for (bool moved = false; step < kSteps || !moved; ++step) {
      const bool again = step == kSteps / 2;  // as for another group
      ASSERT_TRUE(!again || rebalancer.join(b).ok());
      const auto agreed = lockstep.agree({1, rebalancer.staged(), rebalancer.maps()});
      ASSERT_TRUE(agreed.ok()) << agreed.error().message;
      rebalancer.step(agreed->staged);
      moved = lockstep.agree({counter.sent > 0 ? 0 : 1})->all_tokens == 0;  // on every rank
      if (step < kSteps) subject.step(step, b.rank(), logits);
    }
    EXPECT_GT(counter.layers, 0);
    EXPECT_TRUE(logits == expected[static_cast<std::size_t>(b.rank())]);
    ASSERT_TRUE(b.all_gather("done").ok());
  });
}

TEST(Rebalancer, SpreadsASkewedLoadAndStopsMovingWhenItIsEven) {
  const Case c{"qwen3-moe", 2, 2};
  fabric::testing::run_ranks(2, [&](fabric::Bootstrap& b) {
    const auto transport = transport::shm::transport({.spin = Duration::zero()});
    const moe::ExpertParallel experts{&b, transport.get(), moe::All2All::kLowLatency, 8, true, c.redundant};
    Decoding subject = decoding(c, &experts);
    struct Watch final : moe::RebalanceObserver {
      void measured(const std::vector<moe::LayerLoad>& loads) override {
        even.push_back(1);
        for (const auto& l : loads) even.back() = std::min(even.back(), moe::balancedness(l.ranks));
      }
      void rearranged(int layers, std::uint64_t, Duration) override { moved.push_back(layers); }
      std::vector<double> even;
      std::vector<int> moved;
    } watch;
    moe::RebalanceOptions options{.window = 16, .interval = 16, .background = false, .timeout = kLong};
    moe::Rebalancer rebalancer(*transport, subject.model->mixtures(), *subject.stream, options, watch);
    ASSERT_TRUE(rebalancer.join(b).ok());
    std::vector<float> logits;
    for (int round = 0; round < 6; ++round) {
      for (int step = 0; step < 16; ++step) {
        rebalancer.step(0);
        subject.step(step, 3, logits);
      }
    }
    ASSERT_GE(watch.even.size(), 5u);
    EXPECT_GE(watch.even.back(), watch.even.front());
    EXPECT_GT(watch.moved.front(), 0);
    EXPECT_EQ(watch.moved.back(), 0);
    ASSERT_TRUE(b.all_gather("done").ok());
  });
}

TEST(Lockstep, RanksThatBelieveTheExpertsElsewhereAreNamed) {
  fabric::testing::run_ranks(3, [](fabric::Bootstrap& b) {
    const auto transport = transport::shm::transport({.spin = Duration::zero()});
    engine::testing::LocalMembership membership;
    engine::Lockstep lockstep(membership, *transport, kLong, [](fabric::Bootstrap&) { return Status::success(); });
    membership.announce(b);
    ASSERT_TRUE(lockstep.form().ok());
    const auto agreed = lockstep.agree({1, 0, b.rank() == 2 ? 77u : 5u});
    ASSERT_FALSE(agreed.ok());
    EXPECT_NE(agreed.error().message.find("disagree on which rank holds which expert (checksums"), std::string::npos);
    ASSERT_TRUE(b.all_gather("done").ok());
  });
}

}  // namespace
}  // namespace braid
