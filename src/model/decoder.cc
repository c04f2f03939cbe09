// SPDX-License-Identifier: Apache-2.0
#include "model/decoder.h"

#include <algorithm>
#include <numeric>

namespace braid::model {

Workspace::Workspace(Builder& b)
    : max_tokens(std::max<std::int64_t>(b.options().max_batched_tokens, b.options().max_sequences)) {
  const Config& config = b.config();
  const auto elements = static_cast<std::size_t>(max_tokens * config.hidden);
  Stream& stream = b.stream();
  hidden = stream.allocate(elements * sizeof(float));
  normed = stream.allocate(elements * size_of(b.activations()));
  exact = stream.allocate(elements * sizeof(float));
  mlp_rows = stream.allocate(elements * sizeof(float));
  mlp_scratch = stream.allocate(ops::GroupedMlp::scratch_bytes(max_tokens, std::max(config.inter, 1)));
  std::vector<std::int32_t> numbers(static_cast<std::size_t>(max_tokens));
  std::iota(numbers.begin(), numbers.end(), 0);
  slots = upload(stream, numbers);
  ones = upload(stream, std::vector<float>(numbers.size(), 1.0f));
  moe = b.moe_workspace(max_tokens);
}

Decoder::Decoder(Builder& b)
    : config_(b.config()),
      stream_(b.stream()),
      timeline_(b.options().timeline),
      activations_(b.activations()),
      workspace_(b),
      table_(b.embedding(b.config().names.root + "model.embed_tokens.weight", b.activations())),
      final_norm_(b.vector(b.config().names.root + "model.norm.weight", b.config().hidden)),
      head_(b.head(b.config().names.root + (b.config().tied_embeddings ? "model.embed_tokens.weight" : "lm_head.weight"))),
      embed_(b.choose(b.lists().embed, {b.activations()}, std::string(name_of(b.activations())) + " table")),
      norm_(b.choose(b.lists().rms_norm, {b.activations(), b.config().hidden}, std::to_string(b.config().hidden) + " columns")),
      combine_(b.choose(b.lists().combine, {b.config().hidden}, std::to_string(b.config().hidden) + " columns")),
      gather_(b.choose(b.lists().embed, {DType::kF32}, "float32 table")) {
  if (b.lists().choose_tokens.empty()) return;
  choose_ = b.choose(b.lists().choose_tokens, {b.config().vocab_size}, std::to_string(b.config().vocab_size) + " tokens");
}

FeedForward Decoder::feed_forward(Builder& b, const std::string& prefix, int layer) const {
  FeedForward half;
  half.norm = b.vector(prefix + ".post_attention_layernorm.weight", config_.hidden);
  const std::string mlp = prefix + "." + config_.names.mlp;
  if (config_.is_moe(layer)) half.mixture.emplace(b.moe(mlp, layer));
  else half.dense = b.mlp(mlp, config_.inter);
  return half;
}

Matrix<float> Decoder::embed(const Step& step) {
  CHECK(step.tokens <= workspace_.max_tokens, "more tokens than max_batched_tokens");
  const Matrix<float> hidden(workspace_.hidden.as<float>(), step.tokens, config_.hidden);
  embed_->run({table_.data(), activations_, {step.token_ids.device, step.token_ids.size()}, hidden}, stream_);
  return hidden;
}

void Decoder::gather(Matrix<const float> from, const Mirror<std::int32_t>& rows, Matrix<float> to) {
  CHECK(from.stride == to.cols, "rows to gather have gaps");
  gather_->run({from.data, DType::kF32, {rows.device, rows.size()}, to}, stream_);
}

moe::Workspace& Decoder::mixture_space(const Lane& lane) { return lane.index == 0 ? *workspace_.moe : *workspace_.moe->other; }

// Where the experts of this rank can read them.
Activations Decoder::normed(std::int64_t rows, const Lane& lane) {
  const Activations staged = workspace_.moe ? mixture_space(lane).staging() : Activations{};
  if (staged.data) return staged.slice_rows(0, rows);
  const Activations all{workspace_.normed.data(), activations_, workspace_.max_tokens, config_.hidden, config_.hidden};
  return all.slice_rows(lane.first_row, rows);
}

Activations Decoder::norm(Matrix<float> hidden, const Buffer& weight, bool exact, const Lane& lane) {
  const Activations out = normed(hidden.rows, lane);
  float* const in_float32 = workspace_.exact.as<float>() + lane.first_row * config_.hidden;
  const Matrix<float> out2(exact ? in_float32 : nullptr, hidden.rows, hidden.cols);
  norm_into({hidden.data, hidden.rows, hidden.cols, hidden.stride}, weight, out, out2);
  return out;
}

Matrix<float> Decoder::norm_exact(Matrix<float> hidden, const Buffer& weight) {
  norm(hidden, weight, true);
  return {workspace_.exact.as<float>(), hidden.rows, hidden.cols};
}

void Decoder::norm_into(Matrix<const float> x, const Buffer& weight, const Activations& out, Matrix<float> exact) {
  norm_->run({x, weight.as<float>(), config_.rms_eps, out, exact}, stream_);
}

Status Decoder::begin(FeedForward& half, Matrix<float> hidden, const Step& step, const Lane& lane) {
  const Activations x = norm(hidden, half.norm, half.mixture.has_value(), lane);
  if (half.mixture) {
    moe::Workspace& space = mixture_space(lane);
    space.first_row = lane.first_row;
    space.beside = lane.overlapped;
    const Matrix<const float> exact(workspace_.exact.as<float>() + lane.first_row * config_.hidden, hidden.rows, hidden.cols);
    return half.mixture->begin(x, exact, hidden, step.most_tokens, space, stream_);
  }
  const ops::PackedMlp* const group = &half.dense->weights;
  const Matrix<float> out(workspace_.mlp_rows.as<float>(), hidden.rows, hidden.cols);
  half.dense->kernel->run({x, std::span(&group, 1), step.all_rows.device, nullptr, out, workspace_.mlp_scratch.data()}, stream_);
  combine_->run({out, workspace_.slots.as<std::int32_t>(), workspace_.ones.as<float>(), 1, hidden}, stream_);
  return Status::success();
}

Status Decoder::compute(FeedForward& half, const Lane& lane) {
  return half.mixture ? half.mixture->compute(mixture_space(lane), stream_) : Status::success();
}

Status Decoder::finish(FeedForward& half, const Lane& lane, int layer, const Trace* trace) {
  if (!half.mixture) return Status::success();
  ASSIGN_OR_RETURN(const auto seen, half.mixture->finish(mixture_space(lane), stream_));
  if (!trace || !trace->routing) return Status::success();
  const auto experts = static_cast<std::size_t>(seen.logits.rows * seen.logits.stride);
  ASSIGN_OR_RETURN(const float* logits, trace_read_[0].read(stream_, seen.logits.data, experts));
  ASSIGN_OR_RETURN(const std::int32_t* ids, trace_read_[1].read(stream_, seen.ids.data(), seen.ids.size()));
  ASSIGN_OR_RETURN(const float* weights, trace_read_[2].read(stream_, seen.weights.data(), seen.weights.size()));
  trace->routing(layer, {logits, seen.logits.rows, seen.logits.cols, seen.logits.stride}, {ids, seen.ids.size()}, {weights, seen.weights.size()},
                 config_.moe.top_k);
  return Status::success();
}

Status Decoder::show(const Trace* trace, int layer, Matrix<const float> hidden) {
  if (!trace || !trace->hidden) return {};
  ASSIGN_OR_RETURN(const float* rows, trace_read_[0].read(stream_, hidden.data, static_cast<std::size_t>(hidden.rows * hidden.cols)));
  trace->hidden(layer, {rows, hidden.rows, hidden.cols});
  return {};
}

void Decoder::head(const Step& step, Matrix<float> hidden, const Buffer& norm) {
  const auto count = static_cast<std::int64_t>(step.logit_rows.size()), vocabulary = std::int64_t{config_.vocab_size};
  if (count == 0) return;
  const auto fit = [&](Buffer& buffer, std::int64_t cols, DType dtype) {
    const std::size_t bytes = static_cast<std::size_t>(count * cols) * size_of(dtype);
    if (buffer.size() < bytes) buffer = stream_.allocate(bytes);
  };
  fit(rows_, config_.hidden, DType::kF32);
  fit(head_input_, config_.hidden, activations_);
  fit(logits_, vocabulary, DType::kF32);
  const Matrix<float> rows(rows_.as<float>(), count, config_.hidden);
  gather({hidden.data, hidden.rows, hidden.cols, hidden.stride}, step.logit_rows, rows);
  const Activations x{head_input_.data(), activations_, count, config_.hidden, config_.hidden};
  norm_into({rows.data, rows.rows, rows.cols}, norm, x, {});
  head_.run(x, {logits_.data(), DType::kF32, count, vocabulary, vocabulary}, stream_);
  if (step.draws.empty()) return;
  const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(std::int32_t);
  if (tokens_.size() < bytes) tokens_ = stream_.allocate(bytes);
  choose_->run({Matrix<float>(logits_.as<float>(), count, vocabulary), step.draws.device, tokens_.as<std::int32_t>()}, stream_);
}

Result<Matrix<const float>> Decoder::logits(const Step& step) {
  const auto count = static_cast<std::int64_t>(step.logit_rows.size()), vocabulary = std::int64_t{config_.vocab_size};
  chosen_ = {};
  if (step.draws.empty()) {
    ASSIGN_OR_RETURN(const float* logits, logits_read_.read(stream_, logits_.as<float>(), static_cast<std::size_t>(count * vocabulary)));
    return Matrix<const float>(logits, count, vocabulary);
  }
  float* logits = nullptr;
  for (std::size_t row = 0; row < step.draws.size(); ++row) {
    if (step.draws[row].by != ops::ChooseTokens::By::kHost) continue;
    if (!logits) logits = logits_read_.room<float>(stream_, static_cast<std::size_t>(count * vocabulary));
    const std::int64_t at = static_cast<std::int64_t>(row) * vocabulary;
    stream_.copy(logits + at, logits_.as<float>() + at, static_cast<std::size_t>(vocabulary) * sizeof(float));
  }
  ASSIGN_OR_RETURN(const std::int32_t* tokens, tokens_read_.read(stream_, tokens_.as<std::int32_t>(), static_cast<std::size_t>(count)));
  chosen_ = {tokens, static_cast<std::size_t>(count)};
  return Matrix<const float>(logits, count, vocabulary);
}

Matrix<const float> Decoder::residual() const {
  return {workspace_.hidden.as<float>(), workspace_.max_tokens, config_.hidden};
}

Matrix<const float> Decoder::head_rows() const { return {rows_.as<float>(), static_cast<std::int64_t>(rows_.size() / sizeof(float)) / config_.hidden, config_.hidden}; }

}  // namespace braid::model
