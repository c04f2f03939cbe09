// SPDX-License-Identifier: Apache-2.0
// Whole models with their experts spread over ranks: the logits of every token are those of one rank,
// bit for bit with `deterministic`, whatever the number of ranks, the backend and the share of tokens.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <numeric>

#include "backend/cpu/backend.h"
#include "fabric/testing/local_bootstrap.h"
#include "model/model.h"
#include "moe/expert_parallel.h"
#include "tests/golden/quantised_folder.h"
#include "tests/ranks/loaded_model.h"
#include "transport/shm/shm.h"
#include "weights/checkpoint.h"

namespace braid {
namespace {

struct Subject : LoadedModel {
  Subject(const std::string& name, const moe::ExpertParallel* experts, bool fp8 = false)
      : LoadedModel(name, {.experts = experts, .two_micro_batches = experts != nullptr}, fp8) {}

  // A prompt of `count` tokens and then one decode step; logits of the last row of each.
  std::vector<float> run(int count, std::int64_t most_prompt, std::int64_t most_decode, bool two_halves = false) {
    std::vector<float> logits;
    for (const bool decode : {false, true}) {
      model::Batch b;
      const int first = decode ? count : 0, end = decode && count > 0 ? count + 1 : count;
      for (int p = first; p < end; ++p) {
        b.token_ids.push_back((p * 7 + count) % model->config().vocab_size);
        b.positions.push_back(p);
        b.slots.push_back(p);
      }
      if (decode && count > 0) b.decode.push_back({first, table.data()});
      if (!decode && count > 0) b.prefill.push_back({0, count, 0, table.data()});
      if (count > 0) b.logit_rows.push_back(end - first - 1);
      b.most_tokens = decode ? most_decode : most_prompt;
      b.two_halves = two_halves;
      const auto out = model->forward(b, *cache);
      EXPECT_TRUE(out.ok()) << out.error().message;
      if (out.ok()) logits.insert(logits.end(), out->data, out->data + out->rows * out->cols);
    }
    return logits;
  }
};

struct Case {
  const char* model;
  int ranks;
  moe::All2All backend;
  bool deterministic = false;
  std::int64_t buffer_tokens = 64;
  moe::Payload payload = moe::Payload::kAuto;
};

using moe::All2All;

class ExpertParallelModel : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(
    All, ExpertParallelModel,
    ::testing::Values(
        Case{"deepseek-v3", 2, All2All::kLowLatency, true}, Case{"deepseek-v3", 3, All2All::kLowLatency, true, 5},
        Case{"deepseek-v3", 4, All2All::kAllGatherReduceScatter, true}, Case{"deepseek-v3", 8, All2All::kHighThroughput, true, 7},
        Case{"deepseek-v3", 2, All2All::kFlexible, true, 6}, Case{"deepseek-v3", 3, All2All::kHighThroughput},
        Case{"deepseek-v2", 2, All2All::kLowLatency, true}, Case{"deepseek-v2", 4, All2All::kFlexible},
        Case{"qwen2-moe", 2, All2All::kLowLatency, true}, Case{"qwen2-moe", 4, All2All::kFlexible, true, 5},
        Case{"glm4-moe", 2, All2All::kHighThroughput, true}, Case{"mixtral", 4, All2All::kLowLatency, true},
        Case{"llama4", 2, All2All::kHighThroughput, true}, Case{"llama4", 4, All2All::kFlexible, true, 5},
        Case{"gpt-oss", 1, All2All::kLowLatency}, Case{"gpt-oss", 2, All2All::kLowLatency, true}, Case{"gpt-oss", 4, All2All::kFlexible, true, 7},
        Case{"qwen3-moe", 8, All2All::kLowLatency, true}, Case{"qwen3-moe", 3, All2All::kAllGatherReduceScatter, false, 7},
        Case{"qwen3-moe", 2, All2All::kHighThroughput, true, 9}, Case{"lexicon-30m", 1, All2All::kLowLatency},
        Case{"lexicon-30m", 2, All2All::kLowLatency, true}, Case{"lexicon-30m", 3, All2All::kFlexible, true},
        Case{"lexicon-30m", 8, All2All::kHighThroughput, true}, Case{"lexicon-30m", 4, All2All::kLowLatency, false, 16},
        Case{"lexicon-30m", 2, All2All::kLowLatency, false, 64, moe::Payload::kExact},
        Case{"lexicon-30m", 4, All2All::kLowLatency, false, 16, moe::Payload::kExact},
        Case{"lexicon-30m", 2, All2All::kHighThroughput, false, 64, moe::Payload::kFp8}),
    [](const auto& info) {
      const Case& c = info.param;
      std::string name = std::string(c.model) + "_" + std::to_string(c.ranks) + "_" + std::string(moe::name_of(c.backend)) +
                         (c.deterministic ? "_deterministic" : c.payload == moe::Payload::kExact ? "_exact" : c.payload == moe::Payload::kFp8 ? "_fp8" : "");
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

// How far the logits may be from those of one rank: the furthest where they are sums in another order; on average where
// results travelled as bfloat16 or rows as fp8, since a choice of expert that a rounding turns moves a whole row. Other
// rows are then off by 0.02 or 0.1, and logits are about 5 and more.
constexpr float kFurthestExact = 0.25f;
float mean_bound_of(const Case& c) { return c.payload == moe::Payload::kFp8 ? 1.0f : 0.5f; }

float mean_difference(const std::vector<float>& a, const std::vector<float>& b) {
  const float sum = std::transform_reduce(a.begin(), a.end(), b.begin(), 0.0f, std::plus<>(), [](float x, float y) { return std::fabs(x - y); });
  return a.empty() ? 0 : sum / static_cast<float>(a.size());
}

float furthest(const std::vector<float>& a, const std::vector<float>& b) {
  float most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::fabs(a[i] - b[i]));
  return most;
}

// The likeliest token of each row.
std::vector<std::ptrdiff_t> greedy(const std::vector<float>& logits, const Subject& subject) {
  std::vector<std::ptrdiff_t> ids;
  const auto cols = static_cast<std::ptrdiff_t>(subject.model->config().vocab_size);
  for (auto row = logits.begin(); row != logits.end(); row += cols) ids.push_back(std::max_element(row, row + cols) - row);
  return ids;
}

int tokens_of(int rank) { return rank % 3 == 1 ? 0 : 11 + 13 * (rank % 4); }  // some ranks have none

TEST_P(ExpertParallelModel, ComputesWhatOneRankComputes) {
  const Case& c = GetParam();
  std::int64_t most = 0;
  for (int r = 0; r < c.ranks; ++r) most = std::max<std::int64_t>(most, tokens_of(r));
  Subject alone(c.model, nullptr);
  fabric::testing::run_ranks(c.ranks, [&](fabric::Bootstrap& b) {
    const auto transport = transport::shm::transport({.spin = Duration::zero()});
    const moe::ExpertParallel experts{.bootstrap = &b, .transport = transport.get(), .backend = c.backend, .buffer_tokens = c.buffer_tokens,
                                      .deterministic = c.deterministic, .redundant_experts = c.ranks, .payload = c.payload};
    Subject subject(c.model, &experts);
    const auto logits = subject.run(tokens_of(b.rank()), most, 1);
    EXPECT_EQ(logits, subject.run(tokens_of(b.rank()), most, 1, true)) << "as two micro-batches";
    ASSERT_TRUE(b.all_gather("done").ok());
    for (int turn = 0; turn < c.ranks; ++turn) {  // `alone` serves one rank at a time
      ASSERT_TRUE(b.all_gather("turn").ok());
      if (turn != b.rank()) continue;
      const auto expected = alone.run(tokens_of(b.rank()), 0, 0);
      EXPECT_EQ(logits.size(), expected.size());
      if (c.deterministic) EXPECT_EQ(logits, expected);
      else if (c.payload == moe::Payload::kExact) EXPECT_LT(furthest(logits, expected), kFurthestExact);
      else EXPECT_LT(mean_difference(logits, expected), mean_bound_of(c));
      const bool same_text = c.payload != moe::Payload::kFp8 && std::string(c.model) == "lexicon-30m";
      EXPECT_TRUE(!same_text || greedy(logits, subject) == greedy(expected, subject));
    }
    ASSERT_TRUE(b.all_gather("end").ok());
  });
}

// The same logits with 1, 2 and 4 ranks.
void expect_equal_on_ranks(const std::string& model, bool fp8) {
  Subject alone(model, nullptr, fp8);
  const auto expected = alone.run(23, 0, 0);
  for (const int ranks : {1, 2, 4}) {
    fabric::testing::run_ranks(ranks, [&](fabric::Bootstrap& b) {
      const auto transport = transport::shm::transport({.spin = Duration::zero()});
      const moe::ExpertParallel experts{.bootstrap = &b, .transport = transport.get(), .backend = All2All::kLowLatency, .buffer_tokens = 64, .deterministic = true};
      Subject subject(model, &experts, fp8);
      EXPECT_EQ(subject.run(23, 23, 1), expected) << ranks << " ranks, rank " << b.rank();
      ASSERT_TRUE(b.all_gather("done").ok());
    });
  }
}

class QuantisedExperts : public ::testing::TestWithParam<Scheme> {};
INSTANTIATE_TEST_SUITE_P(Schemes, QuantisedExperts, ::testing::ValuesIn(kSchemes), [](const auto& info) { return std::string(info.param.name); });

TEST_P(QuantisedExperts, ComputeTheSameOnEveryNumberOfRanks) {
  const QuantisedFolders folders(fs::path(BRAID_BINARY_DIR) / "golden/models/qwen3-moe", GetParam());
  expect_equal_on_ranks(folders.stored.path().string(), false);
}

TEST(QuantisedExperts, InBlocksOrMxfp4OrQuantisedOnTheWayToo) {
  for (const char* model : {"qwen3-moe-fp8", "deepseek-v3-fp8", "gpt-oss"}) expect_equal_on_ranks(model, false);
  for (const char* model : {"qwen3-moe", "llama4"}) expect_equal_on_ranks(model, true);
}

TEST(ExpertParallelLoad, ARankReadsNoExpertsButItsOwn) {
  const Subject alone("deepseek-v3", nullptr);
  const auto& config = alone.model->config();
  std::size_t expert_bytes = 0;
  for (int layer = 0; layer < config.layers; ++layer) {
    const auto one = static_cast<std::size_t>(3 * config.moe.inter * config.hidden) * size_of(DType::kBF16);
    if (config.is_moe(layer)) expert_bytes += static_cast<std::size_t>(config.moe.experts) * one;
  }
  std::array<std::size_t, 4> read{};
  fabric::testing::run_ranks(4, [&](fabric::Bootstrap& b) {
    const auto transport = transport::shm::transport({.spin = Duration::zero()});
    const moe::ExpertParallel experts{.bootstrap = &b, .transport = transport.get(), .backend = All2All::kLowLatency, .buffer_tokens = 8};
    const Subject subject("deepseek-v3", &experts);
    read[static_cast<std::size_t>(b.rank())] = subject.checkpoint->bytes_read();
    ASSERT_TRUE(b.all_gather("done").ok());
  });
  for (const std::size_t bytes : read) EXPECT_EQ(bytes, alone.checkpoint->bytes_read() - expert_bytes / 4 * 3);
}

}  // namespace
}  // namespace braid
