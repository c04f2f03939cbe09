// SPDX-License-Identifier: Apache-2.0
// Dispatch and combine across ranks against a slow statement of what they promise: every token meets
// each of its experts once, and gets the weighted sum of their results. The experts are functions
// whose value names the expert, so that a row that went astray changes the sum.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "fabric/testing/local_bootstrap.h"
#include "moe/expert_parallel.h"
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

float value(const Activations& x, std::int64_t row, std::int64_t column) {
  if (x.dtype == DType::kF32) return reinterpret_cast<const float*>(x.row(row))[column];
  return bf16_to_f32(reinterpret_cast<const std::uint16_t*>(x.row(row))[column]);
}

struct Mode {
  const char* name;
  All2All backend;
  DType x = DType::kF32;
  Payload payload = Payload::kAuto;
  bool deterministic = false;
  bool by_messages = false;  // no stores reach a peer
  bool staged = false;       // tokens lie where the backend wants them
};

// Tokens of one rank in one step, and what they must become.
struct Tokens {
  std::int64_t count;
  Buffer memory;
  Activations x;
  std::vector<std::int32_t> ids;
  std::vector<float> weights;

  Tokens(const Case& c, const Mode& mode, const PrepareFinalize& prepare, int rank, std::int64_t n, unsigned step)
      : count(n), memory(static_cast<std::size_t>(n * c.hidden) * sizeof(float) + 64),
        x{memory.data(), mode.x, n, c.hidden, c.hidden} {
    if (mode.staged && prepare.staging().data) x = prepare.staging().slice_rows(0, n);
    std::mt19937 random(static_cast<unsigned>(rank) * 977 + step);
    std::vector<std::int32_t> all(static_cast<std::size_t>(c.experts));
    for (std::int64_t t = 0; t < count; ++t) {
      std::iota(all.begin(), all.end(), 0);
      std::shuffle(all.begin(), all.end(), random);
      ids.insert(ids.end(), all.begin(), all.begin() + c.top_k);
      const auto row = ops::reference::random_values(static_cast<std::size_t>(c.hidden), random());
      for (std::size_t k = 0; k < row.size(); ++k) {
        if (mode.x == DType::kF32) reinterpret_cast<float*>(x.row(t))[k] = row[k];
        else reinterpret_cast<std::uint16_t*>(x.row(t))[k] = f32_to_bf16(row[k]);
      }
    }
    weights = ops::reference::random_values(ids.size(), random());
  }

  // Column k of token t: the weighted results in the order of choices, and how far from it a result
  // may be. A partial sum that travels as bfloat16 is off by 2^-9 of itself, a value that travels as
  // fp8 by 1/16 of itself.
  std::pair<float, float> expected(const Case& c, const Mode& mode, std::int64_t t, std::int64_t k) const {
    float sum = 1, size = 1, slope = 0;
    for (int j = 0; j < c.top_k; ++j) {
      const auto i = static_cast<std::size_t>(t * c.top_k + j);
      const float part = weights[i] * expert(ids[i], value(x, t, k));
      sum += part;
      size += std::fabs(part);
      slope += std::fabs(weights[i]) * static_cast<float>(ids[i] + 1);
    }
    if (mode.deterministic) return {sum, 0.0f};
    float bound = 1e-5f * size;
    if (mode.x == DType::kBF16 && mode.payload != Payload::kExact) bound += size / 256;
    if (mode.payload == Payload::kFp8) bound += slope * (std::fabs(value(x, t, k)) * (mode.x == DType::kBF16 ? 0.068f : 0.0626f) + 1e-5f);
    return {sum, bound};
  }
};

constexpr Mode kModes[] = {
    {"low_latency", All2All::kLowLatency},
    {"low_latency_staged", All2All::kLowLatency, DType::kBF16, Payload::kAuto, false, false, true},
    {"low_latency_exact", All2All::kLowLatency, DType::kBF16, Payload::kExact},
    {"low_latency_fp8", All2All::kLowLatency, DType::kBF16, Payload::kFp8},
    {"low_latency_fp8_of_float32", All2All::kLowLatency, DType::kF32, Payload::kFp8},
    {"low_latency_deterministic", All2All::kLowLatency, DType::kF32, Payload::kAuto, true},
    {"low_latency_by_messages", All2All::kLowLatency, DType::kF32, Payload::kAuto, false, true},
    {"low_latency_deterministic_by_messages", All2All::kLowLatency, DType::kF32, Payload::kFp8, true, true},
    {"high_throughput", All2All::kHighThroughput},
    {"high_throughput_staged", All2All::kHighThroughput, DType::kBF16, Payload::kAuto, false, false, true},
    {"high_throughput_fp8", All2All::kHighThroughput, DType::kBF16, Payload::kFp8},
    {"high_throughput_deterministic", All2All::kHighThroughput, DType::kBF16, Payload::kAuto, true},
    {"high_throughput_by_messages", All2All::kHighThroughput, DType::kBF16, Payload::kAuto, false, true},
    {"high_throughput_fp8_by_messages", All2All::kHighThroughput, DType::kF32, Payload::kFp8, false, true},
    {"high_throughput_deterministic_by_messages", All2All::kHighThroughput, DType::kF32, Payload::kAuto, true, true},
    {"flexible", All2All::kFlexible},
    {"flexible_bf16", All2All::kFlexible, DType::kBF16, Payload::kAuto, false, false, true},
    {"flexible_fp8", All2All::kFlexible, DType::kBF16, Payload::kFp8},
    {"flexible_deterministic_by_messages", All2All::kFlexible, DType::kF32, Payload::kAuto, true, true},
    {"allgather", All2All::kAllGatherReduceScatter},
    {"allgather_bf16", All2All::kAllGatherReduceScatter, DType::kBF16},
    {"allgather_deterministic", All2All::kAllGatherReduceScatter, DType::kF32, Payload::kAuto, true},
};

class Dispatch : public ::testing::TestWithParam<Mode> {};
INSTANTIATE_TEST_SUITE_P(All, Dispatch, ::testing::ValuesIn(kModes), [](const auto& info) { return std::string(info.param.name); });

void run_experts(const Placement& placement, int rank, const Dispatched& d, std::int64_t hidden, std::vector<float>& results) {
  results.assign(static_cast<std::size_t>(d.rows() * hidden), std::nanf(""));
  const auto mine = placement.experts_of(rank);
  for (std::size_t s = 0; s < mine.size(); ++s) {
    for (std::int32_t r = d.first(s); r < d.first(s) + d.count(s); ++r) {
      const std::int64_t row = d.format == Format::kPadded ? r : d.row_token[static_cast<std::size_t>(r)];
      for (std::int64_t k = 0; k < hidden; ++k) results[static_cast<std::size_t>(r * hidden + k)] = expert(mine[s], value(d.x, row, k));
    }
  }
}

// A step as a layer does it: in chunks, as many as the rank with the most tokens needs.
Status run_step(const Case& c, const Placement& placement, int rank, const Tokens& tokens, std::int64_t most, PrepareFinalize& prepare,
                Matrix<float> hidden) {
  std::vector<float> results;
  for (std::int64_t first = 0; first == 0 || first < most; first += prepare.max_tokens()) {
    const std::int64_t count = std::clamp<std::int64_t>(tokens.count - first, 0, prepare.max_tokens()), at = count > 0 ? first : 0;
    const Routing routing{count, c.top_k, tokens.ids.data() + at * c.top_k, tokens.weights.data() + at * c.top_k, &placement};
    RETURN_IF_ERROR(prepare.send(tokens.x.slice_rows(at, count), routing, 3));
    ASSIGN_OR_RETURN(const Dispatched dispatched, prepare.receive());
    run_experts(placement, rank, dispatched, c.hidden, results);
    RETURN_IF_ERROR(prepare.send_back({results.data(), dispatched.rows(), c.hidden}));
    RETURN_IF_ERROR(prepare.collect({hidden.row(at), count, c.hidden}));
  }
  return Status::success();
}

void check_rank(const Case& c, const Mode& mode, std::int64_t chunk, fabric::Bootstrap& bootstrap) {
  std::unique_ptr<fabric::Transport> transport = transport::shm::transport({});
  if (mode.by_messages) transport = std::make_unique<fabric::testing::FaultyTransport>(std::move(transport), 5u, 0);
  const ExpertParallel parallel{.bootstrap = &bootstrap, .transport = transport.get(), .backend = mode.backend, .buffer_tokens = chunk,
                                .deterministic = mode.deterministic, .redundant_experts = c.redundant, .payload = mode.payload};
  ops::reference::NoStream stream;
  const auto prepare = make_prepare({c.experts, c.top_k, false, c.hidden, 16, mode.x}, &parallel, nullptr, &ops::reference::kCombine, stream);
  ASSERT_TRUE(prepare.ok()) << prepare.error().message;
  const Placement placement = Placement::linear(c.experts, c.ranks, c.redundant);
  const std::int64_t most = *std::max_element(c.tokens.begin(), c.tokens.end());
  for (unsigned step = 0; step < 6; ++step) {
    const auto count = c.tokens[(static_cast<std::size_t>(bootstrap.rank()) + step) % c.tokens.size()];
    const Tokens tokens(c, mode, **prepare, bootstrap.rank(), count, step);
    std::vector<float> hidden(static_cast<std::size_t>(count * c.hidden), 1.0f);
    const Status status = run_step(c, placement, bootstrap.rank(), tokens, most, **prepare, {hidden.data(), count, c.hidden});
    ASSERT_TRUE(status.ok()) << status.error().message;
    for (std::int64_t t = 0; t < count; ++t) {
      for (std::int64_t k = 0; k < c.hidden; ++k) {
        const auto [sum, bound] = tokens.expected(c, mode, t, k);
        ASSERT_NEAR(hidden[static_cast<std::size_t>(t * c.hidden + k)], sum, bound) << "step " << step << " token " << t << " column " << k;
      }
    }
  }
  ASSERT_TRUE(bootstrap.all_gather("done").ok());
}

TEST_P(Dispatch, EveryTokenGetsTheWeightedSumOfItsExperts) {
  for (const Case& c : kCases) {
    for (const std::int64_t chunk : {16, 2}) {
      SCOPED_TRACE(std::to_string(c.ranks) + " ranks, chunks of " + std::to_string(chunk));
      fabric::testing::run_ranks(c.ranks, [&](fabric::Bootstrap& b) { check_rank(c, GetParam(), chunk, b); });
    }
  }
}

// Two ranks, four experts on each; every token of rank 0 has three experts on rank 1.
TEST(Dispatch, ATokenTravelsOnceToARankHoweverManyOfItsExpertsLiveThere) {
  for (const All2All backend : {All2All::kLowLatency, All2All::kHighThroughput, All2All::kFlexible}) {
    fabric::testing::run_ranks(2, [&](fabric::Bootstrap& b) {
      const auto transport = transport::shm::transport({});
      const ExpertParallel parallel{.bootstrap = &b, .transport = transport.get(), .backend = backend, .buffer_tokens = 8};
      ops::reference::NoStream stream;
      const auto prepare = make_prepare({8, 3, false, 640, 8, DType::kBF16}, &parallel, nullptr, &ops::reference::kCombine, stream).value();
      const Placement placement = Placement::linear(8, 2);
      std::vector<std::uint16_t> x(8 * 640);
      std::vector<std::int32_t> ids;
      for (int t = 0; t < 8; ++t) ids.insert(ids.end(), {4, 7, 5});
      const std::vector<float> weights(ids.size(), 1.0f);
      ASSERT_TRUE(prepare->send({x.data(), DType::kBF16, 8, 640, 640}, {8, 3, ids.data(), weights.data(), &placement}, 0).ok());
      const auto arrived = prepare->receive();
      ASSERT_TRUE(arrived.ok());
      std::vector<float> results(static_cast<std::size_t>(arrived->rows() * 640));
      ASSERT_TRUE(prepare->send_back({results.data(), arrived->rows(), 640}).ok());
      std::vector<float> hidden(8 * 640);
      ASSERT_TRUE(prepare->collect({hidden.data(), 8, 640}).ok());
      const Traffic& traffic = prepare->traffic();
      const bool sender = b.rank() == 0;
      const std::uint64_t rows = 8 * 640 * 2, tickets = 8 * Ticket::bytes(3), counts = backend == All2All::kHighThroughput ? 8 : 0;
      EXPECT_EQ(traffic.dispatched_bytes, (sender ? rows + tickets : 0) + counts);
      EXPECT_EQ(traffic.returned_bytes, sender ? 0 : rows);
      EXPECT_EQ(traffic.pairs, sender ? 0u : 48u);
      ASSERT_TRUE(b.all_gather("done").ok());
    });
  }
}

TEST(DispatchErrors, DifferentPlacementsAreFoundAndNamed) {
  fabric::testing::run_ranks(2, [](fabric::Bootstrap& b) {
    const auto transport = transport::shm::transport({});
    const RanksOptions options{2, 1, 8, DType::kF32, 4, 4};
    auto window = fabric::create_window(b, *transport, "test", RanksLayout(options).total, std::chrono::seconds(60)).value();
    ops::reference::NoStream stream;
    PrepareRanks prepare("low_latency", options, std::move(window), &ops::reference::kCombine, stream);
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
