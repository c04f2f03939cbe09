// SPDX-License-Identifier: Apache-2.0
#include "model/attention_mla.h"

#include <algorithm>
#include <cmath>

#include "model/scratch.h"

namespace braid::model {

MlaAttention::Workspace::Workspace(const Builder& b) : stream(b.stream()) {
  const Config& c = b.config();
  const Options& o = b.options();
  const DType activations = b.activations();
  const std::int64_t tokens = std::max(o.max_batched_tokens, o.max_sequences);
  const std::int64_t decodes = std::max(o.max_sequences, 1);
  const std::int64_t qk = c.nope_dim + c.rope_dim, row = c.kv_lora + c.rope_dim;
  const std::int64_t key_bytes = c.heads * (qk + c.v_dim) * static_cast<std::int64_t>(size_of(activations));
  const std::int64_t fit = stream.unified() ? 1 : std::max<std::int64_t>(1, kExpandedBytes / (key_bytes * kExpandedKeys));
  const std::int64_t wanted = fit == 1 ? o.max_model_len : std::max<std::int64_t>(o.max_model_len, tokens);
  expanded_keys = std::clamp<std::int64_t>((wanted + 63) / 64 * 64, 64, fit * kExpandedKeys);
  const auto floats = [&](std::int64_t n) { return stream.allocate(static_cast<std::size_t>(n) * sizeof(float)); };
  const auto units = [&](std::int64_t n) { return stream.allocate(static_cast<std::size_t>(n) * size_of(activations)); };
  projected = floats(tokens * ((c.q_lora > 0 ? c.q_lora : c.heads * qk) + row));
  q_latent = units(tokens * std::max(c.q_lora, 1));
  q = floats(tokens * c.heads * qk);
  query = units(tokens * c.heads * qk);
  nope = units(decodes * c.heads * c.nope_dim);
  absorbed = units(decodes * c.heads * row);
  mixed = units(decodes * c.heads * c.kv_lora);
  out = units(tokens * c.heads * c.v_dim);
  latent = units(expanded_keys * row);
  keys = units(expanded_keys * c.heads * qk);
  values = units(expanded_keys * c.heads * c.v_dim);
  const ops::AttentionShape expanded{c.heads, c.heads, static_cast<int>(qk), c.v_dim, 1.0f};
  state = stream.allocate(ops::AttentionPrefill::state_bytes(expanded, tokens));
}

// Short sequences share a piece; a long one is cut into pieces of its own.
void MlaAttention::Workspace::plan(const Batch& batch, StepMaker& maker) {
  pieces.clear();
  const int block = maker.block_size();
  for (const auto& chunk : batch.prefill) {
    const std::int64_t keys = chunk.position + chunk.rows;
    for (std::int64_t first = 0; first < keys; first += expanded_keys) {
      const std::int64_t end = std::min(keys, first + expanded_keys);
      const bool joins = keys <= expanded_keys && !pieces.empty() && pieces.back().first && pieces.back().last &&
                         pieces.back().keys() + keys <= expanded_keys;
      if (!joins) pieces.emplace_back();
      Piece& piece = pieces.back();
      piece.first = first == 0;
      piece.last = end == keys;
      piece.queries.push_back({chunk.first_row, chunk.rows, chunk.position, first, end, nullptr, piece.keys()});
      for (std::int64_t p = first; p < end; ++p) {
        piece.cache_rows.push_back(chunk.block_table[p / block * batch.groups] * block + static_cast<std::int32_t>(p % block));
      }
    }
  }
  for (Piece& piece : pieces) {
    piece.rows = maker.staging().put(std::span<const std::int32_t>(piece.cache_rows));
    piece.sequences = maker.staging().put(std::span<const ops::AttentionPrefill::Sequence>(piece.queries));
  }
}

MlaAttention::MlaAttention(Builder& b, const std::string& prefix, int)
    : heads_(b.config().heads), q_lora_(b.config().q_lora), kv_lora_(b.config().kv_lora),
      nope_(b.config().nope_dim), rope_(b.config().rope_dim), v_(b.config().v_dim),
      scale_(Rope::softmax_factor(b.config().rope_scaling) / std::sqrt(static_cast<float>(nope_ + rope_))),
      activations_(b.activations()) {
  const auto& c = b.config();
  const MatrixName kv_a{prefix + ".kv_a_proj_with_mqa.weight", row(), c.hidden};
  if (q_lora_ > 0) {
    input_ = b.linear({{prefix + ".q_a_proj.weight", q_lora_, c.hidden}, kv_a});
    q_norm_ = b.vector(prefix + ".q_a_layernorm.weight", q_lora_);
    q_b_ = b.linear({{prefix + ".q_b_proj.weight", heads_ * qk(), q_lora_}});
    norm_ = b.choose(b.lists().rms_norm, {activations_, q_lora_}, std::to_string(q_lora_) + " columns");
  } else {
    input_ = b.linear({{prefix + ".q_proj.weight", heads_ * qk(), c.hidden}, kv_a});
  }
  kv_norm_ = b.vector(prefix + ".kv_a_layernorm.weight", kv_lora_);
  o_ = b.linear({{prefix + ".o_proj.weight", c.hidden, heads_ * v_}});
  if (const auto kv_b = b.stored({prefix + ".kv_b_proj.weight", heads_ * (nope_ + v_), kv_lora_})) {
    std::vector<ops::Weight> keys, values, absorbed;
    for (std::int64_t h = 0; h < heads_; ++h) {
      const ops::Weight all = weight_of(*kv_b);
      keys.push_back(all.window(h * (nope_ + v_), nope_, 0, kv_lora_));
      values.push_back(all.window(h * (nope_ + v_) + nope_, v_, 0, kv_lora_));
      absorbed.push_back(keys.back().transpose());
    }
    expand_k_ = b.batched(keys, true);
    expand_v_ = b.batched(values, true);
    absorb_ = b.batched(absorbed, false);
  }
  const std::string shape = std::to_string(heads_) + " heads, ";
  store_ = b.choose(b.lists().mla_store, {b.cache()}, std::to_string(row()) + " columns");
  gather_ = b.choose(b.lists().mla_gather, {b.cache()}, std::to_string(row()) + " columns");
  query_ = b.choose(b.lists().mla_query, {activations_}, shape + std::to_string(qk()) + " columns");
  prefill_ = b.choose(b.lists().attention_prefill, {activations_, activations_, {heads_, heads_, qk(), v_, scale_}},
                      shape + std::to_string(qk()) + "/" + std::to_string(v_));
  decode_ = b.choose(b.lists().attention_decode, {activations_, b.cache(), {heads_, 1, row(), kv_lora_, scale_}},
                     shape + std::to_string(row()) + "/" + std::to_string(kv_lora_) + ", absorbed");
}

Matrix<const float> MlaAttention::project(const Step& step, const Activations& x, kv::Cache& cache, int layer,
                                          const Rope& rope, Workspace& w, Stream& stream) const {
  const std::int64_t tokens = x.rows;
  const std::int64_t q_cols = q_lora_ > 0 ? q_lora_ : heads_ * qk();
  const std::int64_t cols = q_cols + row();
  float* projected = w.projected.as<float>();
  input_.run(x, {projected, DType::kF32, tokens, cols, cols}, stream);
  store_->run({{projected + q_cols, tokens, row(), cols}, kv_norm_.as<float>(), eps_, rope.table(),
               step.positions.device, step.pages[static_cast<std::size_t>(cache.group_of(layer))].slots.device, cache.layer(layer)}, stream);
  if (q_lora_ == 0) return {projected, tokens, q_cols, cols};
  const Activations latent{w.q_latent.data(), activations_, tokens, q_lora_, q_lora_};
  norm_->run({{projected, tokens, q_cols, cols}, q_norm_.as<float>(), eps_, latent, {}}, stream);
  const std::int64_t width = heads_ * qk();
  q_b_.run(latent, {w.q.data(), DType::kF32, tokens, width, width}, stream);
  return {w.q.as<float>(), tokens, width};
}

// Keys and values of a piece, from its rows of the cache.
void MlaAttention::expand(const Workspace::Piece& piece, const Activations& cached, Workspace& w, Stream& stream) const {
  const std::int64_t keys = piece.keys(), k_cols = heads_ * qk(), v_cols = heads_ * v_;
  const Activations rows{w.latent.data(), activations_, keys, row(), row()}, latent = rows.columns(0, kv_lora_);
  const Activations to{w.keys.data(), activations_, keys, k_cols, k_cols};
  gather_->run({cached, piece.rows.device, rows, to.columns(nope_, k_cols - nope_), heads_, qk(), rope_}, stream);
  expand_k_.kernel->run({&expand_k_.weight, latent, to.columns(0, nope_), 0, qk(), false}, stream);
  expand_v_.kernel->run({&expand_v_.weight, latent, {w.values.data(), activations_, keys, v_, v_cols}, 0, v_, false}, stream);
}

void MlaAttention::prefill(const Step& step, Matrix<const float> q, const Activations& cached, const Rope& rope,
                           Workspace& w, Stream& stream) const {
  const std::int64_t rows = step.prefill_rows, width = heads_ * qk(), v_cols = heads_ * v_;
  const Activations query{w.query.data(), activations_, rows, width, width};
  query_->run({{q.data, rows, q.cols, q.stride}, heads_, nope_, rope.table(), step.positions.device, query, qk(),
               query.columns(nope_, width - nope_), qk()}, stream);
  for (const auto& piece : w.pieces) {
    expand(piece, cached, w, stream);
    ops::AttentionPrefill::Args args;
    args.shape = {heads_, heads_, qk(), v_, scale_};
    args.q = query;
    args.k = {w.keys.data(), activations_, width, qk()};
    args.v = {w.values.data(), activations_, v_cols, v_};
    args.sequences = piece.sequences;
    args.out = {w.out.data(), activations_, rows, v_cols, v_cols};
    args.state = w.state.as<float>();
    args.first_segment = piece.first;
    args.last_segment = piece.last;
    prefill_->run(args, stream);
  }
}

void MlaAttention::decode(const Step& step, Matrix<const float> q, const kv::Cache& cache, int layer,
                          const Rope& rope, Workspace& w, Stream& stream) const {
  const std::int64_t first = step.prefill_rows, rows = step.decode_rows();
  const Activations nope{w.nope.data(), activations_, rows, heads_ * nope_, heads_ * nope_};
  const Activations absorbed{w.absorbed.data(), activations_, rows, heads_ * row(), heads_ * row()};
  const Activations mixed{w.mixed.data(), activations_, rows, heads_ * kv_lora_, heads_ * kv_lora_};
  query_->run({{q.row(first), rows, q.cols, q.stride}, heads_, nope_, rope.table(), step.decode_positions(),
               nope, nope_, absorbed.columns(kv_lora_, heads_ * row() - kv_lora_), row()}, stream);
  absorb_.kernel->run({&absorb_.weight, nope.columns(0, nope_), absorbed.columns(0, kv_lora_), nope_, row(), false}, stream);
  const Activations cached = cache.layer(layer);
  ops::AttentionDecode::Args args;
  args.shape = {heads_, 1, row(), kv_lora_, scale_};
  args.q = absorbed;
  args.k = {cached.data, cached.dtype, cached.stride, 0, ops::Fp8Row::latent(kv_lora_, rope_)};
  args.v = args.k;
  args.block_size = step.block_size;
  args.rows = step.pages[static_cast<std::size_t>(cache.group_of(layer))].decode;
  args.out = mixed;
  fit_decode(w.decode_scratch, args.shape, args.rows, stream);
  args.scratch = w.decode_scratch.data();
  decode_->run(args, stream);
  const Activations out{w.out.data(), activations_, step.tokens, heads_ * v_, heads_ * v_};
  expand_v_.kernel->run({&expand_v_.weight, mixed.columns(0, kv_lora_), out.slice_rows(first, rows).columns(0, v_),
                         kv_lora_, v_, false}, stream);
}

void MlaAttention::forward(const Step& step, const Activations& x, Matrix<float> hidden, kv::Cache& cache,
                           int layer, const Rope& rope, Workspace& w, Stream& stream) const {
  const Matrix<const float> q = project(step, x, cache, layer, rope, w, stream);
  if (step.prefill_rows > 0) prefill(step, q, cache.layer(layer), rope, w, stream);
  if (step.decode_rows() > 0) decode(step, q, cache, layer, rope, w, stream);
  const Activations out{w.out.data(), activations_, step.tokens, heads_ * v_, heads_ * v_};
  o_.run(out, {hidden.data, DType::kF32, hidden.rows, hidden.cols, hidden.stride}, stream, true);
}

}  // namespace braid::model
