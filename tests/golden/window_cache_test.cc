// SPDX-License-Identifier: Apache-2.0
// Layers that see only a window or a chunk give blocks back, which other layers then overwrite: logits are,
// bit for bit, those of a cache that keeps everything.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "kv/cache.h"
#include "kv/page_table.h"
#include "model/model.h"
#include "ops/reference.h"
#include "tests/golden/test_device.h"
#include "weights/checkpoint.h"

namespace braid {
namespace {

constexpr int kBlock = 8, kChunk = 24, kTokens = 300, kDecoded = 40;

// A sequence alone in a cache that is as large as it must be.
class Sequence {
 public:
  Sequence(model::Model& model, const kv::Layout& layout, const kv::Paging& paging, int prompt = kTokens)
      : model_(model), pool_(static_cast<std::int32_t>(paging.most_blocks(prompt + kDecoded))), cache_(layout, pool_.total(), kBlock), table_(paging) {
    table_.begin(0);
    table_.reserve(pool_, prompt);
  }

  // Logits of the next `count` tokens.
  std::vector<float> compute(int count, bool decode) {
    const auto logits = compute_with(model_, count, decode);
    computed_ += count;
    table_.slide(pool_, computed_, computed_);
    return logits;
  }

  // The same, by a model whose cache has the same rows, and without going on.
  std::vector<float> compute_with(model::Model& model, int count, bool decode) {
    EXPECT_TRUE(table_.grow(pool_, computed_ + count));
    model::Batch b;
    b.groups = table_.groups();
    for (int p = computed_; p < computed_ + count; ++p) {
      b.logit_rows.push_back(p - computed_);
      b.token_ids.push_back((p * 37 + p / 11) % model.config().vocab_size);
      b.positions.push_back(p);
      b.slots.push_back(table_.slot(p));
      if (decode) b.decode.push_back({p, table_.data()});
    }
    if (!decode) b.prefill.push_back({0, count, computed_, table_.data()});
    const auto out = model.forward(b, cache_).value();
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

// A folder with a config.json alone.
class DummyFolder {
 public:
  explicit DummyFolder(const std::string& config) : path_(std::filesystem::temp_directory_path() / ("braid-long-" + std::to_string(getpid()))) {
    std::filesystem::create_directories(path_);
    std::ofstream(path_ / "config.json") << config;
  }
  ~DummyFolder() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
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

// Shapes of 131072 positions with random weights: YaRN beside a window and sinks, chunks, latent attention.
struct LongShape {
  const char* name;
  const char* config;
};
constexpr LongShape kLongShapes[] = {
    {"gpt_oss", R"({"architectures": ["GptOssForCausalLM"], "vocab_size": 320, "hidden_size": 64, "intermediate_size": 32, "num_hidden_layers": 3,
      "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 32, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 128,
      "layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "rms_norm_eps": 1e-5, "rope_theta": 150000, "max_position_embeddings": 131200,
      "rope_scaling": {"rope_type": "yarn", "factor": 32.03125, "original_max_position_embeddings": 4096, "beta_fast": 32, "beta_slow": 1, "truncate": false},
      "swiglu_limit": 7.0, "quantization_config": {"quant_method": "mxfp4"}, "eos_token_id": 1})"},
    {"llama4", R"({"architectures": ["Llama4ForConditionalGeneration"], "text_config": {"model_type": "llama4_text", "vocab_size": 320, "hidden_size": 64, "intermediate_size": 32, "intermediate_size_mlp": 64,
      "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "num_local_experts": 4, "num_experts_per_tok": 1,
      "interleave_moe_layer_step": 2, "attention_chunk_size": 8192, "no_rope_layers": [1, 1, 1], "use_qk_norm": true, "rms_norm_eps": 1e-5, "rope_theta": 500000,
      "max_position_embeddings": 131200, "attn_temperature_tuning": true, "attn_scale": 0.1, "floor_scale": 8192, "eos_token_id": 1}})"},
    {"deepseek_v3", R"({"architectures": ["DeepseekV3ForCausalLM"], "vocab_size": 320, "hidden_size": 64, "intermediate_size": 64, "moe_intermediate_size": 32,
      "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "q_lora_rank": 32, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16,
      "v_head_dim": 32, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "first_k_dense_replace": 0, "n_group": 1, "topk_group": 1,
      "norm_topk_prob": true, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "topk_method": "noaux_tc", "moe_layer_freq": 1, "rms_norm_eps": 1e-6,
      "rope_theta": 10000, "max_position_embeddings": 131200, "eos_token_id": 1,
      "rope_scaling": {"type": "yarn", "factor": 32.03125, "original_max_position_embeddings": 4096, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0}})"}};

class LongContext : public testing::TestWithParam<LongShape> {};

// The last tokens, given the cache of all before them.
TEST_P(LongContext, RowsAt131072AreThoseOfTheSlowReference) {
  constexpr int kLong = 131072, kStep = 4096, kLast = 4;
  const DummyFolder folder(GetParam().config);
  const auto checkpoint = weights::dummy_checkpoint(folder.path().string());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  const TestDevice device = open_test_device();
  model::Options options;
  options.compute = DType::kF32;
  options.max_model_len = kLong + kDecoded;
  options.max_batched_tokens = kStep;
  options.max_sequences = kLast;
  const auto build = [&](const ops::KernelLists* kernels) { return model::build(**checkpoint, options, {kernels, device.stream.get(), {}}); };
  const auto fast = build(device.kernels), slow = build(&ops::reference::lists());
  ASSERT_TRUE(fast.ok()) << fast.error().message;
  ASSERT_TRUE(slow.ok()) << slow.error().message;
  const kv::Layout grouped = (*fast)->cache_layout().grouped();
  const kv::Paging paging{kBlock, grouped.groups, kStep};
  Sequence sequence(**fast, grouped, paging, kLong);
  for (int p = 0; p < kLong - kLast; p += kStep) sequence.compute(std::min(kStep, kLong - kLast - p), false);
  for (const bool decode : {false, true}) {
    const auto expected = sequence.compute_with(**slow, kLast, decode), got = sequence.compute(kLast, decode);
    double worst = 0;
    for (std::size_t i = 0; i < got.size(); ++i) worst = std::max<double>(worst, std::fabs(got[i] - expected[i]));
    EXPECT_LE(worst, 5e-4) << (decode ? "decode" : "prefill");
  }
  EXPECT_LE(sequence.used(), paging.most_blocks(kLong + kDecoded));
}

INSTANTIATE_TEST_SUITE_P(Shapes, LongContext, testing::ValuesIn(open_test_device().stream->unified() ? std::vector<LongShape>(std::begin(kLongShapes), std::end(kLongShapes)) : std::vector<LongShape>{}),
                         [](const auto& info) { return info.param.name; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(LongContext);

}  // namespace
}  // namespace braid
