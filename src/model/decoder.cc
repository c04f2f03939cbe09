// SPDX-License-Identifier: Apache-2.0
#include "model/decoder.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace braid::model {

Workspace::Workspace(Builder& b)
    : max_tokens(std::max<std::int64_t>(b.options().max_batched_tokens, b.options().max_sequences)) {
  const Config& config = b.config();
  const auto elements = static_cast<std::size_t>(max_tokens * config.hidden);
  hidden = Buffer(elements * sizeof(float));
  normed = Buffer(elements * size_of(b.activations()));
  exact = Buffer(elements * sizeof(float));
  mlp_rows = Buffer(elements * sizeof(float));
  mlp_scratch = Buffer(ops::GroupedMlp::scratch_bytes(max_tokens, std::max(config.inter, 1)));
  slots.resize(static_cast<std::size_t>(max_tokens));
  std::iota(slots.begin(), slots.end(), 0);
  ones.assign(static_cast<std::size_t>(max_tokens), 1.0f);
  moe = b.moe_workspace(max_tokens);
}

Decoder::Decoder(Builder& b)
    : config_(b.config()),
      stream_(b.stream()),
      activations_(b.activations()),
      workspace_(b),
      table_(b.embedding("model.embed_tokens.weight", b.activations())),
      final_norm_(b.vector("model.norm.weight", b.config().hidden)),
      head_(b.head(b.config().tied_embeddings ? "model.embed_tokens.weight" : "lm_head.weight")),
      embed_(b.choose(b.lists().embed, {b.activations()}, std::string(name_of(b.activations())) + " table")),
      norm_(b.choose(b.lists().rms_norm, {b.activations(), b.config().hidden}, std::to_string(b.config().hidden) + " columns")),
      combine_(b.choose(b.lists().combine, {b.config().hidden}, std::to_string(b.config().hidden) + " columns")) {}

FeedForward Decoder::feed_forward(Builder& b, const std::string& prefix, int layer) const {
  FeedForward half;
  half.norm = b.vector(prefix + ".post_attention_layernorm.weight", config_.hidden);
  if (config_.is_moe(layer)) half.mixture.emplace(b.moe(prefix + ".mlp", layer));
  else half.dense = b.mlp(prefix + ".mlp", config_.inter);
  return half;
}

Matrix<float> Decoder::embed(const Batch& batch) {
  CHECK(batch.tokens() <= workspace_.max_tokens, "more tokens than max_batched_tokens");
  const Matrix<float> hidden(workspace_.hidden.as<float>(), batch.tokens(), config_.hidden);
  embed_->run({table_.data(), activations_, batch.token_ids, hidden}, stream_);
  return hidden;
}

Activations Decoder::norm(Matrix<float> hidden, const std::vector<float>& weight, bool exact) {
  const Activations out{workspace_.normed.data(), activations_, hidden.rows, hidden.cols, hidden.cols};
  const Matrix<float> out2(exact ? workspace_.exact.as<float>() : nullptr, hidden.rows, hidden.cols);
  norm_into({hidden.data, hidden.rows, hidden.cols, hidden.stride}, weight, out, out2);
  return out;
}

Matrix<float> Decoder::norm_exact(Matrix<float> hidden, const std::vector<float>& weight) {
  norm(hidden, weight, true);
  return {workspace_.exact.as<float>(), hidden.rows, hidden.cols};
}

void Decoder::norm_into(Matrix<const float> x, const std::vector<float>& weight, const Activations& out, Matrix<float> exact) {
  norm_->run({x, weight.data(), config_.rms_eps, out, exact}, stream_);
}

Status Decoder::run(FeedForward& half, Matrix<float> hidden, std::int64_t most_tokens, int layer,
                    const Trace* trace) {
  const Activations x = norm(hidden, half.norm, half.mixture.has_value());
  if (half.dense) {
    const ops::MlpGroup group{&half.dense->weights, 0, hidden.rows};
    const Matrix<float> out(workspace_.mlp_rows.as<float>(), hidden.rows, hidden.cols);
    half.dense->kernel->run({x, std::span(&group, 1), nullptr, out, workspace_.mlp_scratch.data()}, stream_);
    combine_->run({{out.data, out.rows, out.cols}, workspace_.slots.data(), workspace_.ones.data(), 1, hidden}, stream_);
    return Status::success();
  }
  const Matrix<const float> exact(workspace_.exact.as<float>(), hidden.rows, hidden.cols);
  ASSIGN_OR_RETURN(const auto seen, half.mixture->forward(x, exact, hidden, std::max(most_tokens, hidden.rows), *workspace_.moe, stream_));
  if (trace && trace->routing) trace->routing(layer, seen.logits, seen.ids, seen.weights, config_.moe.top_k);
  return Status::success();
}

Matrix<const float> Decoder::logits(const Batch& batch, Matrix<float> hidden, const std::vector<float>& norm) {
  const auto rows = static_cast<std::int64_t>(batch.logit_rows.size());
  const auto elements = static_cast<std::size_t>(rows * config_.hidden);
  if (rows_.size() < elements) rows_.resize(elements);
  if (head_input_.size() < elements * size_of(activations_)) head_input_ = Buffer(elements * size_of(activations_));
  logits_.resize(std::max(logits_.size(), static_cast<std::size_t>(rows * config_.vocab_size)));
  for (std::int64_t i = 0; i < rows; ++i) {
    std::memcpy(rows_.data() + i * config_.hidden, hidden.row(batch.logit_rows[static_cast<std::size_t>(i)]),
                static_cast<std::size_t>(config_.hidden) * sizeof(float));
  }
  if (rows == 0) return {logits_.data(), 0, config_.vocab_size};
  const Activations x{head_input_.data(), activations_, rows, config_.hidden, config_.hidden};
  norm_into({rows_.data(), rows, config_.hidden}, norm, x, {});
  head_.run(x, {logits_.data(), DType::kF32, rows, config_.vocab_size, config_.vocab_size}, stream_);
  return {logits_.data(), rows, config_.vocab_size};
}

Matrix<const float> Decoder::residual() const {
  return {workspace_.hidden.as<float>(), workspace_.max_tokens, config_.hidden};
}

Matrix<const float> Decoder::head_rows() const {
  return {rows_.data(), static_cast<std::int64_t>(rows_.size()) / config_.hidden, config_.hidden};
}

}  // namespace braid::model
