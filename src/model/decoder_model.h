// SPDX-License-Identifier: Apache-2.0
// The walk that families with one kind of attention (decoder_layer.h) share: embedding, layers, head,
// and the draft module behind them when it is asked for.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "model/mtp.h"

namespace braid::model {

template <class Attention>
class DecoderModel final : public Model {
 public:
  DecoderModel(Builder& b, const Config& config, Rope rope) : config_(config), context_(b, std::move(rope)) {
    for (int i = 0; i < config.layers && !b.error(); ++i) layers_.emplace_back(b, context_.decoder, i);
    if (b.options().draft_module) mtp_ = std::make_unique<Mtp<Attention>>(b, context_);
    weight_bytes_ = b.bytes();
    chosen_ = b.take_chosen();
  }

  const Config& config() const override { return config_; }
  kv::Layout cache_layout() const override {
    return {config_.layers + (mtp_ ? 1 : 0), Attention::cache_row(config_), context_.decoder.activations(),
            &context_.decoder.stream()};
  }
  std::size_t weight_bytes() const override { return weight_bytes_; }
  const std::vector<ChosenKernel>& chosen_kernels() const override { return chosen_; }
  DraftModule* draft_module() override { return mtp_.get(); }
  moe::Traffic traffic() const override {
    const auto& moe = context_.decoder.workspace().moe;
    return moe ? moe->traffic() : moe::Traffic{};
  }
  std::vector<moe::Layer*> mixtures() override {
    std::vector<moe::Layer*> all;
    for (auto& layer : layers_) all.push_back(layer.mixture());
    if (mtp_) all.push_back(mtp_->mixture());
    std::erase(all, nullptr);
    return all;
  }

  Result<Matrix<const float>> forward(const Batch& batch, kv::Cache& cache, const Trace* trace) override {
    const Step step = context_.begin(batch, cache);
    const auto run = [&] { return run_layers(step, cache, trace); };
    RETURN_IF_ERROR(step.key == 0 || trace ? run() : context_.decoder.stream().repeat(step.key, run));
    return context_.decoder.logits(step);
  }

 private:
  Status run_layers(const Step& step, kv::Cache& cache, const Trace* trace) {
    const Matrix<float> hidden = context_.decoder.embed(step);
    RETURN_IF_ERROR(context_.decoder.show(trace, -1, {hidden.data, hidden.rows, hidden.cols}));
    for (auto& layer : layers_) RETURN_IF_ERROR(layer.forward(step, hidden, cache, context_, trace));
    context_.decoder.head(step, hidden, context_.decoder.final_norm());
    return {};
  }

  const Config config_;
  LayerContext<Attention> context_;
  std::vector<DecoderLayer<Attention>> layers_;
  std::unique_ptr<Mtp<Attention>> mtp_;
  std::size_t weight_bytes_ = 0;
  std::vector<ChosenKernel> chosen_;
};

}  // namespace braid::model
