// SPDX-License-Identifier: Apache-2.0
// Layers that see only a window or a chunk give blocks back, which other layers then overwrite: logits are,
// bit for bit, those of a cache that keeps everything.
#include <gtest/gtest.h>

#include "kv/cache.h"
#include "kv/page_table.h"
#include "model/model.h"
#include "tests/golden/test_device.h"
#include "weights/checkpoint.h"

namespace braid {
namespace {

constexpr int kBlock = 8, kChunk = 24, kTokens = 300, kDecoded = 40;

// A sequence alone in a cache that is as large as it must be.
class Sequence {
 public:
  Sequence(model::Model& model, const kv::Layout& layout, const kv::Paging& paging)
      : model_(model), pool_(static_cast<std::int32_t>(paging.most_blocks(kTokens + kDecoded))), cache_(layout, pool_.total(), kBlock), table_(paging) {
    table_.begin(0);
    table_.reserve(pool_, kTokens);
  }

  // Logits of the next `count` tokens.
  std::vector<float> compute(int count, bool decode) {
    EXPECT_TRUE(table_.grow(pool_, computed_ + count));
    model::Batch b;
    b.groups = table_.groups();
    for (int p = computed_; p < computed_ + count; ++p) {
      b.logit_rows.push_back(p - computed_);
      b.token_ids.push_back((p * 37 + p / 11) % model_.config().vocab_size);
      b.positions.push_back(p);
      b.slots.push_back(table_.slot(p));
      if (decode) b.decode.push_back({p, table_.data()});
    }
    if (!decode) b.prefill.push_back({0, count, computed_, table_.data()});
    const auto out = model_.forward(b, cache_).value();
    computed_ += count;
    table_.slide(pool_, computed_, computed_);
    return {out.data, out.data + out.rows * out.cols};
  }

  int used() const { return pool_.used(); }
  int total() const { return pool_.total(); }

 private:
  model::Model& model_;
  kv::BlockPool pool_;
  kv::Cache cache_;
  kv::PageTable table_;
  int computed_ = 0;
};

class WindowCache : public testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(WindowCache, GivesTheLogitsOfOneThatKeepsEverything) {
  const auto checkpoint = weights::open_checkpoint(std::string(BRAID_BINARY_DIR) + "/golden/models/" + std::get<0>(GetParam()));
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    TestDevice devices[] = {open_test_device(), open_test_device()};
    model::Options options;
    options.compute = compute;
    options.max_model_len = kTokens + kDecoded;
    options.max_batched_tokens = kChunk;
    options.max_sequences = 8;
    const auto build = [&](const TestDevice& device) {
      return model::build(**checkpoint, options, {device.kernels, device.stream.get(), {std::get<1>(GetParam())}}).value();
    };
    const auto model = build(devices[0]), other = build(devices[1]);
    const kv::Layout layout = model->cache_layout(), grouped = other->cache_layout().grouped();
    ASSERT_GT(grouped.groups.size(), 1);
    Sequence whole(*model, layout, kBlock), sliding(*other, grouped, {kBlock, grouped.groups, kChunk});
    for (int p = 0; p < kTokens; p += kChunk) {
      const int count = std::min(kChunk, kTokens - p);
      ASSERT_EQ(sliding.compute(count, false), whole.compute(count, false)) << p;
    }
    for (int p = 0; p < kDecoded; p += 2) ASSERT_EQ(sliding.compute(2, true), whole.compute(2, true)) << p;
    EXPECT_LT(sliding.total() * grouped.bytes_per_slot(), whole.total() * layout.bytes_per_slot() * 3 / 4);
    EXPECT_LT(sliding.used(), sliding.total());
  }
}

INSTANTIATE_TEST_SUITE_P(Device, WindowCache, testing::Combine(testing::Values("gpt-oss", "llama4"), testing::ValuesIn(open_test_device().tiers)),
                         [](const auto& info) { return std::string(std::get<0>(info.param) == std::string("gpt-oss") ? "gpt_oss_" : "llama4_") + std::get<1>(info.param); });

}  // namespace
}  // namespace braid
