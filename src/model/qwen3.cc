// SPDX-License-Identifier: Apache-2.0
// Qwen3 and Qwen3-MoE (2505.09388): grouped-query attention with normalised queries and keys, then a
// dense MLP or routed experts.
#include "model/attention_gqa.h"
#include "model/decoder.h"
#include "model/families.h"

namespace braid::model {
namespace {

struct Layer {
  std::vector<float> norm;
  GqaAttention attention;
  FeedForward feed_forward;
};

class Qwen3 final : public Model {
 public:
  Qwen3(Builder& b, const Config& config)
      : config_(config), decoder_(b), rope_(config, config.head_dim, false, b.options().max_model_len),
        workspace_(config, b.options(), b.activations()) {
    for (int i = 0; i < config.layers && !b.error(); ++i) {
      const std::string prefix = "model.layers." + std::to_string(i);
      auto norm = b.vector(prefix + ".input_layernorm.weight", config.hidden);
      GqaAttention attention(b, prefix + ".self_attn");
      layers_.push_back({std::move(norm), std::move(attention), decoder_.feed_forward(b, prefix, i)});
    }
    weight_bytes_ = b.bytes();
    chosen_ = b.take_chosen();
  }

  const Config& config() const override { return config_; }
  kv::Layout cache_layout() const override {
    return {config_.layers, 2 * config_.kv_heads * config_.head_dim, decoder_.activations()};
  }
  std::size_t weight_bytes() const override { return weight_bytes_; }
  const std::vector<ChosenKernel>& chosen_kernels() const override { return chosen_; }

  Matrix<const float> forward(const Batch& batch, kv::Cache& cache, const Trace* trace) override {
    const Matrix<float> hidden = decoder_.embed(batch);
    if (trace && trace->hidden) trace->hidden(-1, {hidden.data, hidden.rows, hidden.cols});
    for (int i = 0; i < config_.layers; ++i) {
      const Layer& layer = layers_[static_cast<std::size_t>(i)];
      const Activations x = decoder_.norm(hidden, layer.norm, false);
      layer.attention.forward(batch, x, hidden, cache, i, rope_, workspace_, decoder_.stream());
      decoder_.run(layer.feed_forward, hidden, i, trace);
      if (trace && trace->hidden) trace->hidden(i, {hidden.data, hidden.rows, hidden.cols});
    }
    return decoder_.logits(batch, hidden);
  }

 private:
  const Config config_;
  Decoder decoder_;
  Rope rope_;
  GqaAttention::Workspace workspace_;
  std::vector<Layer> layers_;
  std::size_t weight_bytes_ = 0;
  std::vector<ChosenKernel> chosen_;
};

}  // namespace

std::unique_ptr<Model> build_qwen3(Builder& builder, const Config& config) {
  return std::make_unique<Qwen3>(builder, config);
}

}  // namespace braid::model
