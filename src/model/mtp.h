// SPDX-License-Identifier: Apache-2.0
// Multi-token prediction as DeepSeek-V3 publishes it (2412.19437, section 2.2): one more layer after
// the model's, with embedding and head of the model itself. Row p:
//   m = layer(eh_proj([enorm(embedding of token p + 1) | hnorm(normalised hidden state p)]))
//   logits of token p + 2 = head(shared_head.norm(m))
// and m, normalised likewise, takes the place of the hidden state when the module guesses further.
// Checkpoints with several modules: the first is used. Published copies of embedding and head beside
// the module are not read.
#pragma once

#include <span>
#include <vector>

#include "model/decoder_layer.h"

namespace braid::model {

template <class Attention>
class Mtp final : public DraftModule {
 public:
  // `context` outlives the module.
  Mtp(Builder& b, LayerContext<Attention>& context)
      : context_(context), cols_(b.config().hidden), layer_(b, context.decoder, b.config().layers) {
    const std::string prefix = b.config().layer_name(b.config().layers);
    token_norm_ = b.vector(prefix + ".enorm.weight", cols_);
    state_norm_ = b.vector(prefix + ".hnorm.weight", cols_);
    join_ = b.linear({{prefix + ".eh_proj.weight", cols_, 2 * cols_}});
    head_norm_ = b.vector(prefix + ".shared_head.norm.weight", cols_);
    const auto elements = static_cast<std::size_t>(context.decoder.workspace().max_tokens * cols_);
    states_ = b.stream().allocate(elements * sizeof(float));
    joined_ = b.stream().allocate(2 * elements * size_of(b.activations()));
  }

  moe::Layer* mixture() { return layer_.mixture(); }

  Result<Matrix<const float>> draft(const Batch& batch, std::span<const std::int32_t> sources, DraftFrom from,
                                    kv::Cache& cache) override {
    Decoder& decoder = context_.decoder;
    const bool first = from == DraftFrom::kForward;
    const Step step = context_.whole.begin(batch, cache, sources);
    const Matrix<float> states(states_.as<float>(), static_cast<std::int64_t>(sources.size()), cols_);
    decoder.gather(first ? decoder.residual() : decoder.head_rows(), step.sources, states);
    const Matrix<float> hidden = decoder.embed(step);
    const Activations joined{joined_.data(), decoder.activations(), hidden.rows, 2 * cols_, 2 * cols_};
    decoder.norm_into({hidden.data, hidden.rows, cols_}, token_norm_, joined.columns(0, cols_), {});
    const Matrix<float> exact = decoder.norm_exact(states, first ? decoder.final_norm() : head_norm_);
    decoder.norm_into({exact.data, exact.rows, cols_}, state_norm_, joined.columns(cols_, cols_), {});
    join_.run(joined, {hidden.data, DType::kF32, hidden.rows, cols_, hidden.stride}, decoder.stream());
    RETURN_IF_ERROR(layer_.forward(step, hidden, cache, context_, nullptr));
    decoder.head(step, hidden, head_norm_);
    return decoder.logits(step);
  }

 private:
  LayerContext<Attention>& context_;
  std::int64_t cols_;
  DecoderLayer<Attention> layer_;
  Buffer token_norm_, state_norm_, head_norm_;
  LinearLayer join_;
  Buffer states_;  // [tokens, hidden] float32
  Buffer joined_;  // [tokens, 2 * hidden] activations
};

}  // namespace braid::model
