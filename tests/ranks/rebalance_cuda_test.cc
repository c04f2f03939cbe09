// SPDX-License-Identifier: Apache-2.0
// Experts move between two GPUs while a model computes, most steps of it recorded: logits stay those of one GPU, bit for bit, and
// the kernels count every row. Ranks are threads, each with a GPU of its own: `make test-gpu`.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <numeric>

#include "backend/cuda/backend.h"
#include "fabric/testing/local_bootstrap.h"
#include "model/model.h"
#include "moe/expert_parallel.h"
#include "moe/layer.h"
#include "moe/placement/rebalance.h"
#include "tests/ranks/move_counter.h"
#include "tests/ranks/rotated.h"
#include "transport/shm/shm.h"
#include "weights/checkpoint.h"

namespace braid {
namespace {

constexpr int kRanks = 2, kSteps = 60, kBlock = 16, kBlocks = 16;
constexpr Duration kLong = std::chrono::seconds(60);

struct Case {
  const char* model;
  int redundant;
  moe::All2All backend = moe::All2All::kLowLatency;
  bool background = true;
  bool draft = false;
};

// One sequence that is decoded token after token, of which the tokens are given.
struct Decoding {
  Decoding(const Case& c, int gpu, const moe::ExpertParallel* experts) : stream(cuda::make_stream(gpu).value()) {
    const std::string name = c.model, source = BRAID_SOURCE_DIR, binary = BRAID_BINARY_DIR;
    checkpoint = weights::open_checkpoint(name == "lexicon-30m" ? source + "/models/" + name : binary + "/golden/models/" + name).value();
    model::Options options{.experts = experts, .draft_module = c.draft};
    options.max_model_len = options.max_batched_tokens = 64;
    options.max_sequences = 8;
    model = model::build(*checkpoint, options, {&cuda::kernels(), stream.get(), {}}).value();
    cache.emplace(model->cache_layout(), kBlocks, kBlock);
    std::iota(table.begin(), table.end(), 0);
    if (!experts) return;
    EXPECT_TRUE(model->regroup(*experts).ok());
  }

  void step(int position, int seed, std::vector<float>& logits) {
    model::Batch b;
    b.token_ids.push_back((position * 7 + seed * 31) % model->config().vocab_size);
    b.positions.push_back(position);
    b.slots.push_back(position);
    b.decode.push_back({position, table.data()});
    b.logit_rows.push_back(0);
    b.most_tokens = 1;
    take(model->forward(b, *cache), logits);
    if (auto* module = model->draft_module()) take(module->draft(b, std::vector<std::int32_t>{0}, model::DraftFrom::kForward, *cache), logits);
  }
  static void take(const Result<Matrix<const float>>& rows, std::vector<float>& into) {
    ASSERT_TRUE(rows.ok()) << rows.error().message;
    into.insert(into.end(), rows->data, rows->data + rows->rows * rows->cols);
  }

  std::unique_ptr<Stream> stream;
  std::unique_ptr<weights::Checkpoint> checkpoint;
  std::unique_ptr<model::Model> model;
  std::optional<kv::Cache> cache;
  std::vector<std::int32_t> table = std::vector<std::int32_t>(kBlocks);
};

std::vector<std::uint64_t> gathered(fabric::Bootstrap& b, std::uint64_t mine) {
  const auto texts = b.all_gather(std::to_string(mine)).value();
  std::vector<std::uint64_t> all;
  for (const auto& text : texts) all.push_back(std::stoull(text));
  return all;
}
std::uint64_t least(fabric::Bootstrap& b, std::uint64_t mine) {
  const auto all = gathered(b, mine);
  return *std::min_element(all.begin(), all.end());
}

// The first layer's rows so far, of both ranks.
std::uint64_t counted(fabric::Bootstrap& b, model::Model& model) {
  const auto rows = model.mixtures().front()->slot_rows();
  const auto all = gathered(b, static_cast<std::uint64_t>(std::accumulate(rows.begin(), rows.end(), std::int64_t{0})));
  return std::accumulate(all.begin(), all.end(), std::uint64_t{0});
}

void compare(const Case& c) {
  std::vector<std::vector<float>> expected(kRanks);
  for (int r = 0; r < kRanks; ++r) {
    Decoding alone(c, r, nullptr);
    for (int step = 0; step < kSteps; ++step) alone.step(step, r, expected[static_cast<std::size_t>(r)]);
  }
  fabric::testing::run_ranks(kRanks, [&](fabric::Bootstrap& b) {
    const auto transport = transport::shm::transport({.spin = Duration::zero()});
    const auto second = transport::shm::transport({.spin = Duration::zero()});
    const moe::ExpertParallel experts{
        .bootstrap = &b, .transport = transport.get(), .backend = c.backend, .buffer_tokens = 8, .deterministic = true, .redundant_experts = c.redundant, .balanced = true};
    Decoding subject(c, b.rank(), &experts);
    testing::MoveCounter counter;
    moe::Rebalancer rebalancer(*second, subject.model->mixtures(), *subject.stream,
                               {.window = 4, .interval = 4, .background = c.background, .timeout = kLong, .policy = testing::rotated}, counter);
    ASSERT_TRUE(rebalancer.join(b).ok());
    std::vector<float> logits;
    for (int step = 0; step < kSteps; ++step) {
      rebalancer.step(least(b, rebalancer.staged()));
      EXPECT_EQ(least(b, rebalancer.maps()), rebalancer.maps());
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
