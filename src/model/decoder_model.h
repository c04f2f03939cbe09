// SPDX-License-Identifier: Apache-2.0
// A decoder whose layers are attention and a feed-forward half, each after a norm and added to the
// residual stream: the walk that families with one kind of attention share. An Attention has
//   Workspace{config, options, activations}, constructor(builder, prefix),
//   cache_row(config): elements that a token leaves in a layer's cache, and
//   forward(batch, x, hidden, cache, layer, rope, workspace, stream): hidden += attention(x).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/decoder.h"

namespace braid::model {

template <class Attention>
class DecoderModel final : public Model {
 public:
  DecoderModel(Builder& b, const Config& config, Rope rope)
      : config_(config), decoder_(b), rope_(std::move(rope)),
        workspace_(config, b.options(), b.activations()) {
    for (int i = 0; i < config.layers && !b.error(); ++i) {
      const std::string prefix = "model.layers." + std::to_string(i);
      auto norm = b.vector(prefix + ".input_layernorm.weight", config.hidden);
      Attention attention(b, prefix + ".self_attn");
      layers_.push_back({std::move(norm), std::move(attention), decoder_.feed_forward(b, prefix, i)});
    }
    weight_bytes_ = b.bytes();
    chosen_ = b.take_chosen();
  }

  const Config& config() const override { return config_; }
  kv::Layout cache_layout() const override {
    return {config_.layers, Attention::cache_row(config_), decoder_.activations()};
  }
  std::size_t weight_bytes() const override { return weight_bytes_; }
  const std::vector<ChosenKernel>& chosen_kernels() const override { return chosen_; }

  Result<Matrix<const float>> forward(const Batch& batch, kv::Cache& cache, const Trace* trace) override {
    const Matrix<float> hidden = decoder_.embed(batch);
    if (trace && trace->hidden) trace->hidden(-1, {hidden.data, hidden.rows, hidden.cols});
    for (int i = 0; i < config_.layers; ++i) {
      const Layer& layer = layers_[static_cast<std::size_t>(i)];
      const Activations x = decoder_.norm(hidden, layer.norm, false);
      layer.attention.forward(batch, x, hidden, cache, i, rope_, workspace_, decoder_.stream());
      RETURN_IF_ERROR(decoder_.run(layer.feed_forward, hidden, batch.most_tokens, i, trace));
      if (trace && trace->hidden) trace->hidden(i, {hidden.data, hidden.rows, hidden.cols});
    }
    return decoder_.logits(batch, hidden);
  }

 private:
  struct Layer {
    std::vector<float> norm;
    Attention attention;
    FeedForward feed_forward;
  };

  const Config config_;
  Decoder decoder_;
  Rope rope_;
  typename Attention::Workspace workspace_;
  std::vector<Layer> layers_;
  std::size_t weight_bytes_ = 0;
  std::vector<ChosenKernel> chosen_;
};

}  // namespace braid::model
