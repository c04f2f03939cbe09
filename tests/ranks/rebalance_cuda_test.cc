// SPDX-License-Identifier: Apache-2.0
// Experts move between two GPUs while a model computes, most steps of it recorded: logits stay those of one GPU, bit for bit, and
// the kernels count every row. Ranks are threads, each with a GPU of its own: `make test-gpu`.
#include <gtest/gtest.h>

#include <numeric>

#include "backend/cuda/backend.h"
#include "fabric/testing/local_bootstrap.h"
#include "moe/layer.h"
#include "moe/placement/rebalance.h"
#include "tests/ranks/decoding.h"
#include "tests/ranks/gathered.h"
#include "tests/ranks/move_counter.h"
#include "tests/ranks/rotated.h"
#include "transport/shm/shm.h"

namespace braid {
namespace {

constexpr int kRanks = 2, kSteps = 60;
constexpr Duration kLong = std::chrono::seconds(60);

struct Case {
  const char* model;
  int redundant;
  moe::All2All backend = moe::All2All::kLowLatency;
  bool background = true;
  bool draft = false;
};

Decoding decoding(const Case& c, int gpu, const moe::ExpertParallel* experts) {
  return {c.model, {.experts = experts, .draft_module = c.draft}, cuda::kernels(), cuda::make_stream(gpu).value()};
}

// The first layer's rows so far, of both ranks.
std::uint64_t counted(fabric::Bootstrap& b, model::Model& model) {
  const auto rows = model.mixtures().front()->slot_rows();
  const auto all = testing::gathered(b, static_cast<std::uint64_t>(std::accumulate(rows.begin(), rows.end(), std::int64_t{0})));
  return std::accumulate(all.begin(), all.end(), std::uint64_t{0});
}

void compare(const Case& c) {
  std::vector<std::vector<float>> expected(kRanks);
  for (int r = 0; r < kRanks; ++r) {
    Decoding alone = decoding(c, r, nullptr);
    for (int step = 0; step < kSteps; ++step) alone.step(step, r, expected[static_cast<std::size_t>(r)]);
  }
  fabric::testing::run_ranks(kRanks, [&](fabric::Bootstrap& b) {
    const auto transport = transport::shm::transport({.spin = Duration::zero()});
    const auto second = transport::shm::transport({.spin = Duration::zero()});
    const moe::ExpertParallel experts{
        .bootstrap = &b, .transport = transport.get(), .backend = c.backend, .buffer_tokens = 8, .deterministic = true, .redundant_experts = c.redundant, .balanced = true};
    Decoding subject = decoding(c, b.rank(), &experts);
    testing::MoveCounter counter;
    moe::Rebalancer rebalancer(*second, subject.model->mixtures(), *subject.stream,
                               {.window = 4, .interval = 4, .background = c.background, .timeout = kLong, .policy = testing::rotated}, counter);
    ASSERT_TRUE(rebalancer.join(b).ok());
    std::vector<float> logits;
    for (int step = 0; step < kSteps; ++step) {
      rebalancer.step(testing::least(b, rebalancer.staged()));
      EXPECT_EQ(testing::least(b, rebalancer.maps()), rebalancer.maps());
      subject.step(step, b.rank(), logits);
      EXPECT_EQ(counted(b, *subject.model), static_cast<std::uint64_t>(kRanks * subject.model->config().moe.top_k * (step + 1)));
    }
    EXPECT_GT(counter.layers, 0);
    EXPECT_GT(counter.sent, 0u);
    EXPECT_TRUE(logits == expected[static_cast<std::size_t>(b.rank())]);
    b.all_gather("done").value();
    rebalancer.leave();
    b.all_gather("left").value();
  });
}

TEST(CudaRebalancer, LogitsStayTheSameWhileExpertsMove) {
  const Case cases[] = {{"deepseek-v3", 2}, {"deepseek-v3-fp8", 2, moe::All2All::kHighThroughput}, {"qwen3-moe", 0}, {"gpt-oss", 2},
                        {"qwen3-moe-fp8", 4, moe::All2All::kLowLatency, false}, {"lexicon-30m", 2, moe::All2All::kLowLatency, true, true}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.model);
    compare(c);
  }
}

}  // namespace
}  // namespace braid
