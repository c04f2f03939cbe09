// SPDX-License-Identifier: Apache-2.0
// Dispatch and combine across ranks against a slow statement of what they promise: every token meets
// each of its experts once, and gets the weighted sum of their results. The experts are functions
// whose value names the expert, so that a row that went astray changes the sum.
#include <gtest/gtest.h>

#include <random>

#include "fabric/testing/local_bootstrap.h"
#include "moe/prepare_ranks.h"
#include "ops/reference.h"
#include "ops/reference/fixture.h"
#include "tests/ranks/faulty_transport.h"
#include "transport/shm/shm.h"

namespace braid::moe {
namespace {

struct Case {
  int ranks, experts, top_k;
  std::int64_t hidden;
  std::vector<std::int64_t> tokens;  // by rank, modulo
  int redundant = 0;
};

const Case kCases[] = {
    {1, 4, 2, 64, {5}},          {2, 8, 2, 64, {7, 0}},        {2, 7, 3, 40, {1, 9}},         {3, 8, 4, 96, {0, 5, 2}, 4},
    {5, 12, 8, 33, {3, 0, 1}},   {12, 30, 6, 128, {2, 1, 0}},  {4, 128, 32, 72, {6, 2}, 12},  {8, 3, 1, 2880, {2, 0, 1}},
};

float expert(std::int32_t e, float x) { return x * static_cast<float>(e + 1) + static_cast<float>(e % 5); }

struct Tokens {
  std::vector<float> x;
  std::vector<std::int32_t> ids;
  std::vector<float> weights;

  Tokens(const Case& c, int rank, std::int64_t count, unsigned step) {
    std::mt19937 random(static_cast<unsigned>(rank) * 977 + step);
    x = ops::reference::random_values(static_cast<std::size_t>(count * c.hidden), random());
    std::vector<std::int32_t> all(static_cast<std::size_t>(c.experts));
    for (std::int64_t t = 0; t < count; ++t) {
      std::iota(all.begin(), all.end(), 0);
      std::shuffle(all.begin(), all.end(), random);
      ids.insert(ids.end(), all.begin(), all.begin() + c.top_k);
    }
    weights = ops::reference::random_values(ids.size(), random());
  }

  // What a single rank computes: weighted results in the order of choices.
  std::vector<float> expected(const Case& c) const {
    std::vector<float> out(x.size(), 1.0f);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::size_t token = i / static_cast<std::size_t>(c.top_k), h = static_cast<std::size_t>(c.hidden);
      for (std::size_t k = 0; k < h; ++k) out[token * h + k] += weights[i] * expert(ids[i], x[token * h + k]);
    }
    return out;
  }
};

struct Mode {
  const char* name;
  bool everywhere, deterministic, faulty;
};

class Dispatch : public ::testing::TestWithParam<Mode> {};
INSTANTIATE_TEST_SUITE_P(All, Dispatch,
                         ::testing::Values(Mode{"low_latency", false, false, false}, Mode{"low_latency_deterministic", false, true, false},
                                           Mode{"allgather", true, false, false}, Mode{"allgather_deterministic", true, true, false},
                                           Mode{"low_latency_by_messages", false, false, true},
                                           Mode{"deterministic_by_messages", false, true, true}),
                         [](const auto& info) { return std::string(info.param.name); });

void run_experts(const Placement& placement, int rank, const Dispatched& d, std::int64_t hidden, std::vector<float>& results) {
  results.assign(d.row_token.size() * static_cast<std::size_t>(hidden), 0);
  const auto mine = placement.experts_of(rank);
  for (std::size_t s = 0; s < mine.size(); ++s) {
    for (std::int32_t r = d.offsets[s]; r < d.offsets[s + 1]; ++r) {
      const auto* x = reinterpret_cast<const float*>(d.x.row(d.row_token[static_cast<std::size_t>(r)]));
      for (std::int64_t k = 0; k < hidden; ++k) results[static_cast<std::size_t>(r * hidden + k)] = expert(mine[s], x[k]);
    }
  }
}

void check_rank(const Case& c, const Mode& mode, fabric::Bootstrap& bootstrap) {
  std::unique_ptr<fabric::Transport> transport = transport::shm::transport({});
  if (mode.faulty) transport = std::make_unique<fabric::testing::FaultyTransport>(std::move(transport), 5u, 0);
  RanksOptions options{c.ranks, c.top_k, c.hidden, DType::kF32, 16, mode.everywhere, mode.deterministic};
  auto window = fabric::create_window(bootstrap, *transport, "test", RanksLayout(options).total, std::chrono::seconds(60));
  ASSERT_TRUE(window.ok()) << window.error().message;
  ops::reference::NoStream stream;
  PrepareRanks prepare(options, std::move(window).value(), &ops::reference::kCombine, stream);
  const Placement placement = Placement::linear(c.experts, c.ranks, c.redundant);
  std::vector<float> results;
  for (unsigned step = 0; step < 6; ++step) {
    const auto count = c.tokens[(static_cast<std::size_t>(bootstrap.rank()) + step) % c.tokens.size()];
    Tokens tokens(c, bootstrap.rank(), count, step);
    const Routing routing{count, c.top_k, tokens.ids.data(), tokens.weights.data(), &placement};
    ASSERT_TRUE(prepare.send(ops::reference::f32(tokens.x, count, c.hidden), routing, 3).ok());
    const auto dispatched = prepare.receive();
    ASSERT_TRUE(dispatched.ok()) << dispatched.error().message;
    run_experts(placement, bootstrap.rank(), *dispatched, c.hidden, results);
    ASSERT_TRUE(prepare.send_back({results.data(), static_cast<std::int64_t>(dispatched->row_token.size()), c.hidden}).ok());
    std::vector<float> hidden(tokens.x.size(), 1.0f);
    const Status status = prepare.collect({hidden.data(), count, c.hidden});
    ASSERT_TRUE(status.ok()) << status.error().message;
    const auto expected = tokens.expected(c);
    for (std::size_t i = 0; i < hidden.size(); ++i) {
      if (mode.deterministic) ASSERT_EQ(hidden[i], expected[i]) << "step " << step << " element " << i;
      else ASSERT_NEAR(hidden[i], expected[i], 1e-3f * (1 + std::fabs(expected[i]))) << "step " << step << " element " << i;
    }
  }
  ASSERT_TRUE(bootstrap.all_gather("done").ok());
}

TEST_P(Dispatch, EveryTokenGetsTheWeightedSumOfItsExperts) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(std::to_string(c.ranks) + " ranks");
    fabric::testing::run_ranks(c.ranks, [&](fabric::Bootstrap& b) { check_rank(c, GetParam(), b); });
  }
}

TEST(DispatchErrors, DifferentPlacementsAreFoundAndNamed) {
  fabric::testing::run_ranks(2, [](fabric::Bootstrap& b) {
    const auto transport = transport::shm::transport({});
    const RanksOptions options{2, 1, 8, DType::kF32, 4};
    auto window = fabric::create_window(b, *transport, "test", RanksLayout(options).total, std::chrono::seconds(60)).value();
    ops::reference::NoStream stream;
    PrepareRanks prepare(options, std::move(window), &ops::reference::kCombine, stream);
    const Placement placement = Placement::linear(b.rank() == 0 ? 8 : 2, 2);
    std::vector<float> x(8), weights(1, 1.0f);
    const std::vector<std::int32_t> ids{b.rank() == 0 ? 7 : 0};
    ASSERT_TRUE(prepare.send(ops::reference::f32(x, 1, 8), {1, 1, ids.data(), weights.data(), &placement}, 0).ok());
    const auto got = prepare.receive();
    if (b.rank() == 1) {
      ASSERT_FALSE(got.ok());
      EXPECT_NE(got.error().message.find("rank 0 sent rank 1 a token for experts that it does not hold"), std::string::npos);
    }
    ASSERT_TRUE(b.all_gather("done").ok());
  });
}

}  // namespace
}  // namespace braid::moe
