// SPDX-License-Identifier: Apache-2.0
// The exchange's kernels against plain sums on the host: ranks as threads, each on a GPU of its own where there are
// enough, else side by side on one. On a GPU: `make test-gpu`.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "backend/cuda/backend.h"
#include "backend/cuda/stream.h"
#include "fabric/testing/local_bootstrap.h"
#include "ops/reference/fixture.h"
#include "tensor/staging.h"

namespace braid::cuda {
namespace {

using ops::Exchange;
using Output = Exchange::Output;

struct Case {
  const char* name;
  std::vector<std::int64_t> tokens;  // of each rank
  std::int64_t hidden;
  int top_k, experts;
  Output output = Output::kInPlace;
  bool fp8 = false;
  DType returns = DType::kF32;
  bool row_per_choice = false, everywhere = false, halves = false;
  std::int64_t pitch = 0;
  int blocks = 0;
};

// What all ranks know: rows, routing, and who has which expert (expert 0 has a replica on every rank).
struct World {
  explicit World(const Case& c) : ranks(static_cast<int>(c.tokens.size())), slots((c.experts + ranks - 1) / ranks + 1) {
    first.push_back(0);
    for (int e = 0; e < c.experts; ++e) {
      for (int r = 0; r < ranks; ++r) {
        if (e == 0) replicas.push_back(r * slots + slots - 1);
        else if (r == e % ranks) replicas.push_back(r * slots + e / ranks);
      }
      first.push_back(static_cast<std::int32_t>(replicas.size()));
    }
    std::mt19937 random(7);
    for (int r = 0; r < ranks; ++r) {
      const auto n = static_cast<std::size_t>(c.tokens[static_cast<std::size_t>(r)]);
      x.push_back(ops::reference::random_values(n * static_cast<std::size_t>(c.hidden), 11 + static_cast<unsigned>(r)));
      for (auto& v : x.back()) v = bf16_to_f32(f32_to_bf16(v));
      weights.push_back(ops::reference::random_values(n * static_cast<std::size_t>(c.top_k), 31 + static_cast<unsigned>(r)));
      auto& chosen = ids.emplace_back();
      for (std::size_t i = 0; i < n; ++i) {
        std::vector<std::int32_t> all(static_cast<std::size_t>(c.experts));
        for (int e = 0; e < c.experts; ++e) all[static_cast<std::size_t>(e)] = e;
        std::shuffle(all.begin(), all.end(), random);
        chosen.insert(chosen.end(), all.begin(), all.begin() + c.top_k);
      }
    }
  }
  int slot_of(int rank, std::int64_t token, std::int32_t expert) const {
    const auto e = static_cast<std::size_t>(expert);
    const auto count = static_cast<std::uint32_t>(first[e + 1] - first[e]);
    const auto hash = static_cast<std::uint32_t>(token + rank) * 2654435769u;
    return replicas[static_cast<std::size_t>(first[e]) + (count == 1 ? 0 : hash % count)];
  }
  int ranks, slots;
  std::vector<std::int32_t> first, replicas;
  std::vector<std::vector<float>> x, weights;
  std::vector<std::vector<std::int32_t>> ids;
};

// What stands for an expert: it multiplies by a number that tells the slots apart.
float factor_of(int slot) { return 0.5f + 0.25f * static_cast<float>(slot % 5); }

class OneRank {
 public:
  OneRank(const Case& c, const World& world, fabric::Bootstrap& bootstrap, Duration timeout, bool lost = false) : case_(c), world_(world), bootstrap_(bootstrap), rank_(bootstrap.rank()) {
    int gpus = 0;
    cudaGetDeviceCount(&gpus);
    stream_ = make_stream(gpus > 0 ? rank_ % gpus : 0).value();
    options_.ranks = world.ranks;
    options_.rank = rank_;
    options_.top_k = c.top_k;
    options_.slots = world.slots;
    options_.hidden = c.hidden;
    options_.tokens = std::max<std::int64_t>(1, *std::max_element(c.tokens.begin(), c.tokens.end()));
    options_.staging_tokens = options_.tokens + 3;
    options_.fp8 = c.fp8;
    options_.output = c.output;
    options_.returns = c.returns;
    options_.row_per_choice = c.row_per_choice;
    options_.everywhere = c.everywhere;
    options_.pitch = c.pitch;
    options_.timeout = timeout;
    options_.given_up = [lost] { return lost; };
    options_.blocks = c.blocks > 0 ? c.blocks : gpus < world.ranks ? stream_->workers() / world.ranks : 0;
    exchange_ = kernels().exchange(options_, *stream_).value();
    const auto descriptors = bootstrap.all_gather(exchange_->descriptor()).value();
    const Status connected = exchange_->connect(descriptors);
    EXPECT_TRUE(connected.ok()) << connected.error().message;
    prepare();
    EXPECT_TRUE(stream_->wait().ok());
    bootstrap.all_gather("ready").value();
  }

  // One journey; the experts' part is done by the host in between. Ranks that share a GPU must not take or give
  // back memory while one waits for the other, so they meet before each kernel.
  void travel(const std::string& what) {
    bootstrap_.all_gather("dispatch").value();
    const Exchange::Received received = dispatch();
    const auto results = make_results(received, what);
    const Buffer rows = upload(*stream_, results);
    const Exchange::Results back{{rows.data(), DType::kF32, static_cast<std::int64_t>(results.size()) / case_.hidden, case_.hidden, case_.hidden}};
    stream_->copy(out_.data(), before_.data(), before_.size() * sizeof(float));
    bootstrap_.all_gather("return").value();
    if (case_.halves) {
      exchange_->send_back(back);
      exchange_->collect(out_rows(), false);
    } else {
      exchange_->send_back_and_collect(back, out_rows(), false);
    }
    expect_sums(what);
  }

  Exchange::Received dispatch() {
    const Exchange::Tokens tokens{x_, ids_.as<std::int32_t>(), weights_.as<float>(), {world_.slots, first_.as<std::int32_t>(), replicas_.as<std::int32_t>()}, rank_, 3};
    if (!case_.halves) return exchange_->send_and_receive(tokens);
    exchange_->send(tokens);
    return exchange_->receive();
  }
  braid::Stream& stream() { return *stream_; }

 private:
  void prepare() {
    const auto r = static_cast<std::size_t>(rank_);
    const auto count = case_.tokens[r];
    const Activations staging = exchange_->staging();
    std::vector<std::uint16_t> bits;
    for (const float v : world_.x[r]) bits.push_back(f32_to_bf16(v));
    // Half of the ranks stage their rows, so that both ways are taken; rows elsewhere are not aligned.
    const bool staged = staging.data && rank_ % 2 == 0;
    x_ = staged ? staging.slice_rows(2, count) : Activations{nullptr, DType::kBF16, count, case_.hidden, case_.hidden + 1};
    if (!staged) {
      elsewhere_ = stream_->allocate(static_cast<std::size_t>(count * x_.stride * 2 + 16));
      x_.data = elsewhere_.data();
    }
    for (std::int64_t t = 0; t < count; ++t) stream_->copy(x_.row(t), &bits[static_cast<std::size_t>(t * case_.hidden)], static_cast<std::size_t>(case_.hidden) * 2);
    ids_ = upload(*stream_, world_.ids[r]);
    weights_ = upload(*stream_, world_.weights[r]);
    first_ = upload(*stream_, world_.first);
    replicas_ = upload(*stream_, world_.replicas);
    before_ = ops::reference::random_values(static_cast<std::size_t>(count * case_.hidden), 5);
    out_ = stream_->allocate(before_.size() * sizeof(float));
  }

  Activations out_rows() const { return {out_.data(), DType::kF32, x_.rows, case_.hidden, case_.hidden}; }

  template <class T>
  std::vector<T> read(const T* data, std::size_t count) {
    HostCopy copy;
    const auto values = copy.read(*stream_, data, count);
    EXPECT_TRUE(values.ok()) << (values.ok() ? "" : values.error().message);
    return values.ok() ? std::vector<T>(*values, *values + count) : std::vector<T>(count);
  }

  // Every result's row, checked to be a row that some token has for that slot.
  std::vector<float> make_results(const Exchange::Received& received, const std::string& what) {
    const auto slots = static_cast<std::size_t>(world_.slots), hidden = static_cast<std::size_t>(case_.hidden);
    const auto offsets = read(received.offsets, slots + 1);
    std::size_t expected = 0;
    for (int r = 0; r < world_.ranks; ++r) {
      for (std::size_t i = 0; i < world_.ids[static_cast<std::size_t>(r)].size(); ++i) {
        const auto slot = world_.slot_of(r, static_cast<std::int64_t>(i) / case_.top_k, world_.ids[static_cast<std::size_t>(r)][i]);
        expected += slot / world_.slots == rank_;
      }
    }
    EXPECT_EQ(static_cast<std::size_t>(offsets.back()), expected) << what;
    const auto rows = case_.pitch > 0 ? slots * static_cast<std::size_t>(case_.pitch) : static_cast<std::size_t>(offsets.back());
    std::vector<float> results(std::max<std::size_t>(rows, 1) * hidden, NAN);
    std::vector<std::int32_t> row_token;
    if (case_.output == Output::kInPlace && rows > 0) row_token = read(received.row_token, rows);
    const auto bytes = read(static_cast<const std::byte*>(received.x.data), static_cast<std::size_t>(received.x.rows * received.x.stride) * size_of(received.x.dtype));
    std::vector<float> scales;
    if (received.scales) scales = read(received.scales, static_cast<std::size_t>(received.scale_stride) * ((hidden + 127) / 128));
    for (std::size_t slot = 0; slot < slots; ++slot) {
      const auto begin = case_.pitch > 0 ? slot * static_cast<std::size_t>(case_.pitch) : static_cast<std::size_t>(offsets[slot]);
      for (std::size_t row = begin; row < begin + static_cast<std::size_t>(offsets[slot + 1] - offsets[slot]); ++row) {
        const std::size_t at = row_token.empty() ? row : static_cast<std::size_t>(row_token[row]);
        for (std::size_t c = 0; c < hidden; ++c) {
          const std::size_t i = at * static_cast<std::size_t>(received.x.stride) + c;
          const float v = received.scales ? f8e4m3_to_f32(static_cast<std::uint8_t>(bytes[i])) * scales[c / 128 * static_cast<std::size_t>(received.scale_stride) + row]
                                          : bf16_to_f32(reinterpret_cast<const std::uint16_t*>(bytes.data())[i]);
          results[row * hidden + c] = v * factor_of(static_cast<int>(slot));
        }
      }
    }
    return results;
  }

  void expect_sums(const std::string& what) {
    const auto r = static_cast<std::size_t>(rank_), hidden = static_cast<std::size_t>(case_.hidden);
    if (before_.empty()) {
      EXPECT_TRUE(stream_->wait().ok());
      return;
    }
    const auto out = read(out_.as<float>(), before_.size());
    const double tolerance = case_.fp8 ? 0.2 : case_.returns == DType::kBF16 ? 3e-2 : 1e-5;
    double worst = 0;
    for (std::size_t t = 0; t < static_cast<std::size_t>(x_.rows); ++t) {
      for (std::size_t c = 0; c < hidden; ++c) {
        double want = before_[t * hidden + c];
        for (std::size_t j = 0; j < static_cast<std::size_t>(case_.top_k); ++j) {
          const std::size_t i = t * static_cast<std::size_t>(case_.top_k) + j;
          const int slot = world_.slot_of(rank_, static_cast<std::int64_t>(t), world_.ids[r][i]) % world_.slots;
          want += world_.weights[r][i] * factor_of(slot) * world_.x[r][t * hidden + c];
        }
        const double off = std::fabs(out[t * hidden + c] - want);
        worst = std::isnan(off) ? HUGE_VAL : std::max(worst, off);
      }
    }
    EXPECT_LE(worst, tolerance) << what << ", rank " << rank_;
  }

  const Case& case_;
  const World& world_;
  fabric::Bootstrap& bootstrap_;
  const int rank_;
  std::unique_ptr<braid::Stream> stream_;
  Exchange::Options options_;
  std::unique_ptr<Exchange> exchange_;
  Activations x_;
  Buffer elsewhere_, ids_, weights_, first_, replicas_, out_;
  std::vector<float> before_;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {.name = "in place", .tokens = {37, 50}, .hidden = 256, .top_k = 4, .experts = 16},
      {.name = "in place, two kernels each way", .tokens = {37, 50}, .hidden = 256, .top_k = 4, .experts = 16, .halves = true},
      {.name = "in place, a rank without tokens", .tokens = {0, 9}, .hidden = 128, .top_k = 2, .experts = 8},
      {.name = "in place, one token", .tokens = {1, 1}, .hidden = 7168, .top_k = 8, .experts = 256},
      {.name = "in place, odd sizes", .tokens = {13, 29}, .hidden = 333, .top_k = 5, .experts = 11},
      {.name = "in place, 32 choices", .tokens = {40, 3}, .hidden = 64, .top_k = 32, .experts = 77},
      {.name = "in place, three ranks", .tokens = {21, 0, 64}, .hidden = 520, .top_k = 6, .experts = 20},
      {.name = "in place, many tokens", .tokens = {1500, 1203}, .hidden = 256, .top_k = 8, .experts = 64},
      {.name = "in place, returns in bfloat16", .tokens = {70, 81}, .hidden = 2880, .top_k = 4, .experts = 32, .returns = DType::kBF16},
      {.name = "a row for every choice", .tokens = {33, 60}, .hidden = 300, .top_k = 6, .experts = 24, .row_per_choice = true},
      {.name = "every row to every rank", .tokens = {33, 60}, .hidden = 256, .top_k = 2, .experts = 24, .everywhere = true},
      {.name = "grouped", .tokens = {130, 77}, .hidden = 512, .top_k = 8, .experts = 40, .output = Output::kGrouped},
      {.name = "grouped, odd sizes, two kernels each way", .tokens = {13, 29}, .hidden = 333, .top_k = 5, .experts = 11, .output = Output::kGrouped, .halves = true},
      {.name = "grouped, many tokens", .tokens = {900, 1203}, .hidden = 256, .top_k = 8, .experts = 64, .output = Output::kGrouped},
      {.name = "grouped with gaps", .tokens = {50, 20}, .hidden = 256, .top_k = 3, .experts = 9, .output = Output::kGrouped, .pitch = 100},
      {.name = "fp8, decoded", .tokens = {50, 64}, .hidden = 384, .top_k = 4, .experts = 16, .output = Output::kGrouped, .fp8 = true},
      {.name = "fp8", .tokens = {50, 64}, .hidden = 7168, .top_k = 8, .experts = 64, .output = Output::kGroupedFp8, .fp8 = true, .returns = DType::kBF16},
      {.name = "fp8, odd sizes with gaps", .tokens = {50, 3}, .hidden = 333, .top_k = 4, .experts = 16, .output = Output::kGroupedFp8, .fp8 = true, .pitch = 64},
      {.name = "one block", .tokens = {600, 30}, .hidden = 256, .top_k = 4, .experts = 16, .output = Output::kGrouped, .blocks = 1},
      {.name = "three blocks", .tokens = {60, 530}, .hidden = 256, .top_k = 4, .experts = 16, .blocks = 3},
  };
  return all;
}

TEST(CudaExchange, TokensReachTheirExpertsAndComeHome) {
  for (const Case& c : cases()) {
    const World world(c);
    fabric::testing::run_ranks(world.ranks, [&](fabric::Bootstrap& bootstrap) {
      OneRank rank(c, world, bootstrap, std::chrono::seconds(10));
      for (int journey = 0; journey < 3; ++journey) rank.travel(c.name + (", journey " + std::to_string(journey)));
      bootstrap.all_gather("done").value();
    });
  }
}

TEST(CudaExchange, AWaitThatNobodyEndsNamesTheRankAndLeavesTheGpuUsable) {
  const Case c{.name = "silent", .tokens = {5, 5}, .hidden = 128, .top_k = 2, .experts = 8};
  const World world(c);
  fabric::testing::run_ranks(2, [&](fabric::Bootstrap& bootstrap) {
    OneRank rank(c, world, bootstrap, std::chrono::milliseconds(50));
    if (bootstrap.rank() == 0) {
      rank.dispatch();
      const Status status = rank.stream().wait();
      ASSERT_FALSE(status.ok());
      EXPECT_EQ(status.error().code, ErrorCode::kDeadlineExceeded);
      EXPECT_THAT(status.error().message, testing::HasSubstr("rank 0 waits for rank 1 in layer 3"));
      EXPECT_TRUE(rank.stream().wait().ok()) << "the error is told once";
    }
    bootstrap.all_gather("done").value();
  });
}

TEST(CudaExchange, AGroupThatIsGivenUpEndsAWaitAtOnce) {
  const Case c{.name = "lost", .tokens = {5, 5}, .hidden = 128, .top_k = 2, .experts = 8};
  const World world(c);
  fabric::testing::run_ranks(2, [&](fabric::Bootstrap& bootstrap) {
    OneRank rank(c, world, bootstrap, std::chrono::seconds(100), true);
    if (bootstrap.rank() == 0) {
      rank.dispatch();
      const Status status = rank.stream().wait();
      ASSERT_FALSE(status.ok());
      EXPECT_EQ(status.error().code, ErrorCode::kUnavailable);
      EXPECT_THAT(status.error().message, testing::HasSubstr("given up"));
    }
    bootstrap.all_gather("done").value();
  });
}

}  // namespace
}  // namespace braid::cuda
