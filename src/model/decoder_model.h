// SPDX-License-Identifier: Apache-2.0
// The walk that families with one kind of attention (decoder_layer.h) share: embedding, layers, head,
// and the draft module behind them when it is asked for.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "model/mtp.h"
#include "moe/regroup.h"

namespace braid::model {

template <class Attention>
class DecoderModel final : public Model {
 public:
  DecoderModel(Builder& b, const Config& config, Rope rope) : config_(config), cache_(b.cache()), context_(b, std::move(rope)) {
    if (b.options().two_micro_batches) stages_ = overlapped_stages(config.layers);
    for (int i = 0; i < config.layers && !b.error(); ++i) layers_.emplace_back(b, context_.decoder, i);
    if (b.options().draft_module) mtp_ = std::make_unique<Mtp<Attention>>(b, context_);
    weight_bytes_ = b.bytes();
    weight_count_ = b.weight_count();
    chosen_ = b.take_chosen();
  }

  const Config& config() const override { return config_; }
  kv::Layout cache_layout() const override {
    kv::Layout layout{config_.layers + (mtp_ ? 1 : 0), Attention::cache_row(config_, cache_), cache_, &context_.decoder.stream()};
    for (int layer = 0; layer < layout.layers; ++layer) layout.spans.push_back(config_.keys_of(layer));
    return layout;
  }
  std::size_t weight_bytes() const override { return weight_bytes_; }
  WeightCount weight_count() const override { return weight_count_; }
  const std::vector<ChosenKernel>& chosen_kernels() const override { return chosen_; }
  bool chooses() const override { return context_.decoder.chooses(); }
  std::span<const std::int32_t> chosen() const override { return context_.decoder.chosen(); }
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

  Status regroup(const moe::ExpertParallel& group) override {
    const auto layers = mixtures();
    if (layers.empty()) return Status::success();
    return moe::regroup(layers, *context_.decoder.workspace().moe, group, context_.decoder.stream());
  }

  Result<Matrix<const float>> forward(const Batch& batch, kv::Cache& cache, const Trace* trace) override {
    const Step step = context_.whole.begin(batch, cache);
    const auto run = [&] { return run_layers(step, cache, trace); };
    if (batch.two_halves) RETURN_IF_ERROR(run_halves(batch, step, cache));
    else RETURN_IF_ERROR(step.key == 0 || trace ? run() : context_.decoder.stream().repeat(step.key, run));
    const auto& moe = context_.decoder.workspace().moe;
    if (moe && moe->slot_rows) moe->slot_rows->show();
    return context_.decoder.logits(step);
  }

 private:
  Status run_halves(const Batch& batch, const Step& step, kv::Cache& cache) {
    CHECK(!stages_.empty(), "the model was built without two_micro_batches");
    split(batch, halves_);
    const Step steps[] = {context_.halves[0]->begin(halves_[0], cache), context_.halves[1]->begin(halves_[1], cache)};
    const auto run = [&] { return run_stages(step, steps, cache); };
    const std::uint64_t key = key_of(step, steps);
    return key == 0 ? run() : context_.decoder.stream().repeat(key, run);
  }

  Status run_stages(const Step& step, std::span<const Step, 2> steps, kv::Cache& cache) {
    const Lane lanes[] = {{0, 0, true}, {1, steps[0].tokens, true}};
    const Matrix<float> hidden = context_.decoder.embed(step);
    for (const Stage& stage : stages_) {
      const auto i = static_cast<std::size_t>(stage.lane);
      auto& layer = layers_[static_cast<std::size_t>(stage.layer)];
      const Matrix<float> rows(hidden.row(lanes[i].first_row), steps[i].tokens, hidden.cols, hidden.stride);
      switch (stage.what) {
        case Stage::What::kEnter: RETURN_IF_ERROR(layer.enter(steps[i], rows, cache, context_, *context_.halves[i], lanes[i])); break;
        case Stage::What::kCompute: RETURN_IF_ERROR(layer.compute(context_, lanes[i])); break;
        case Stage::What::kFinish: RETURN_IF_ERROR(layer.finish(context_, lanes[i], nullptr)); break;
      }
    }
    context_.decoder.head(step, hidden, context_.decoder.final_norm());
    return {};
  }

  Status run_layers(const Step& step, kv::Cache& cache, const Trace* trace) {
    const Matrix<float> hidden = context_.decoder.embed(step);
    RETURN_IF_ERROR(context_.decoder.show(trace, -1, {hidden.data, hidden.rows, hidden.cols}));
    for (auto& layer : layers_) RETURN_IF_ERROR(layer.forward(step, hidden, cache, context_, trace));
    context_.decoder.head(step, hidden, context_.decoder.final_norm());
    return {};
  }

  const Config config_;
  const DType cache_;
  LayerContext<Attention> context_;
  std::vector<DecoderLayer<Attention>> layers_;
  std::unique_ptr<Mtp<Attention>> mtp_;
  std::vector<Stage> stages_;  // of a batch in two halves
  std::array<Batch, 2> halves_;
  std::size_t weight_bytes_ = 0;
  WeightCount weight_count_;
  std::vector<ChosenKernel> chosen_;
};

}  // namespace braid::model
