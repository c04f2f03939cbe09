// SPDX-License-Identifier: Apache-2.0
#include "model/attention_mla.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "model/scratch.h"

namespace braid::model {

MlaAttention::Workspace::Workspace(const Config& c, const Options& o, DType activations) {
  const std::int64_t tokens = std::max(o.max_batched_tokens, o.max_sequences);
  const std::int64_t decodes = std::max(o.max_sequences, 1);
  const std::int64_t qk = c.nope_dim + c.rope_dim, row = c.kv_lora + c.rope_dim;
  expanded_keys = std::clamp<std::int64_t>((o.max_model_len + 63) / 64 * 64, 64, kExpandedKeys);
  const auto floats = [](std::int64_t n) { return Buffer(static_cast<std::size_t>(n) * sizeof(float)); };
  const auto units = [&](std::int64_t n) { return Buffer(static_cast<std::size_t>(n) * size_of(activations)); };
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
  state = Buffer(ops::AttentionPrefill::state_bytes(expanded, tokens));
}

MlaAttention::MlaAttention(Builder& b, const std::string& prefix)
    : heads_(b.config().heads), q_lora_(b.config().q_lora), kv_lora_(b.config().kv_lora),
      nope_(b.config().nope_dim), rope_(b.config().rope_dim), v_(b.config().v_dim), eps_(b.config().rms_eps),
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
      const ops::Weight all = Builder::weight_of(*kv_b);
      keys.push_back(all.window(h * (nope_ + v_), nope_, 0, kv_lora_));
      values.push_back(all.window(h * (nope_ + v_) + nope_, v_, 0, kv_lora_));
      absorbed.push_back(keys.back().transpose());
    }
    expand_k_ = b.batched(keys, true);
    expand_v_ = b.batched(values, true);
    absorb_ = b.batched(absorbed, false);
  }
  const std::string shape = std::to_string(heads_) + " heads, ";
  store_ = b.choose(b.lists().mla_store, {activations_}, std::to_string(row()) + " columns");
  query_ = b.choose(b.lists().mla_query, {activations_}, shape + std::to_string(qk()) + " columns");
  prefill_ = b.choose(b.lists().attention_prefill, {activations_, activations_, {heads_, heads_, qk(), v_, scale_}},
                      shape + std::to_string(qk()) + "/" + std::to_string(v_));
  decode_ = b.choose(b.lists().attention_decode, {activations_, activations_, {heads_, 1, row(), kv_lora_, scale_}},
                     shape + std::to_string(row()) + "/" + std::to_string(kv_lora_) + ", absorbed");
}

Matrix<const float> MlaAttention::project(const Batch& batch, const Activations& x, kv::Cache& cache, int layer,
                                          const Rope& rope, Workspace& w, Stream& stream) const {
  const std::int64_t tokens = x.rows;
  const std::int64_t q_cols = q_lora_ > 0 ? q_lora_ : heads_ * qk();
  const std::int64_t cols = q_cols + row();
  float* projected = w.projected.as<float>();
  input_.run(x, {projected, DType::kF32, tokens, cols, cols}, stream);
  store_->run({{projected + q_cols, tokens, row(), cols}, kv_norm_.data(), eps_, rope.table(),
               batch.positions.data(), batch.slots.data(), cache.layer(layer)}, stream);
  if (q_lora_ == 0) return {projected, tokens, q_cols, cols};
  const Activations latent{w.q_latent.data(), activations_, tokens, q_lora_, q_lora_};
  norm_->run({{projected, tokens, q_cols, cols}, q_norm_.data(), eps_, latent, {}}, stream);
  const std::int64_t width = heads_ * qk();
  q_b_.run(latent, {w.q.data(), DType::kF32, tokens, width, width}, stream);
  return {w.q.as<float>(), tokens, width};
}

// Latent rows of positions [first, end) to rows `at`... of the expanded keys' input.
void MlaAttention::expand(const PrefillChunk& chunk, std::int64_t first, std::int64_t end, std::int64_t at,
                          const kv::Cache& cache, int layer, Workspace& w) const {
  const Activations rows = cache.layer(layer);
  const int block = cache.block_size();
  const std::size_t bytes = static_cast<std::size_t>(row()) * size_of(activations_);
  for (std::int64_t p = first; p < end;) {
    const std::int64_t count = std::min<std::int64_t>(block - p % block, end - p);
    const std::int64_t source = static_cast<std::int64_t>(chunk.block_table[p / block]) * block + p % block;
    std::memcpy(w.latent.data() + static_cast<std::size_t>(at + p - first) * bytes, rows.row(source),
                static_cast<std::size_t>(count) * bytes);
    p += count;
  }
}

void MlaAttention::attend(const Activations& query, std::int64_t keys, bool first, bool last, Workspace& w,
                          Stream& stream) const {
  const std::int64_t k_cols = heads_ * qk(), v_cols = heads_ * v_;
  const Activations latent{w.latent.data(), activations_, keys, kv_lora_, row()};
  expand_k_.kernel->run({&expand_k_.weight, latent, {w.keys.data(), activations_, keys, nope_, k_cols}, 0, qk(), false}, stream);
  expand_v_.kernel->run({&expand_v_.weight, latent, {w.values.data(), activations_, keys, v_, v_cols}, 0, v_, false}, stream);
  const std::size_t unit = size_of(activations_);
  for (std::int64_t r = 0; r < keys; ++r) {
    const std::byte* from = w.latent.data() + static_cast<std::size_t>(r * row() + kv_lora_) * unit;
    std::byte* to = w.keys.data() + static_cast<std::size_t>(r * k_cols + nope_) * unit;
    for (int h = 0; h < heads_; ++h) {
      std::memcpy(to + static_cast<std::size_t>(h * qk()) * unit, from, static_cast<std::size_t>(rope_) * unit);
    }
  }
  ops::AttentionPrefill::Args args;
  args.shape = {heads_, heads_, qk(), v_, scale_};
  args.q = query;
  args.k = {w.keys.data(), activations_, k_cols, qk()};
  args.v = {w.values.data(), activations_, v_cols, v_};
  args.sequences = w.sequences;
  args.out = {w.out.data(), activations_, query.rows, v_cols, v_cols};
  args.state = w.state.as<float>();
  args.first_segment = first;
  args.last_segment = last;
  prefill_->run(args, stream);
}

void MlaAttention::prefill(const Batch& batch, Matrix<const float> q, const kv::Cache& cache, int layer,
                           const Rope& rope, Workspace& w, Stream& stream) const {
  const std::int64_t rows = batch.prefill_rows(), width = heads_ * qk();
  const Activations query{w.query.data(), activations_, rows, width, width};
  query_->run({{q.data, rows, q.cols, q.stride}, heads_, nope_, rope.table(), batch.positions.data(), query, qk(),
               query.columns(nope_, width - nope_), qk()}, stream);
  w.sequences.clear();
  std::int64_t used = 0;
  const auto flush = [&] {
    if (!w.sequences.empty()) attend(query, used, true, true, w, stream);
    w.sequences.clear();
    used = 0;
  };
  for (const auto& chunk : batch.prefill) {
    const std::int64_t keys = chunk.position + chunk.rows;
    if (used + keys > w.expanded_keys) flush();
    for (std::int64_t first = 0; first < keys; first += w.expanded_keys) {
      const std::int64_t end = std::min(keys, first + w.expanded_keys);
      expand(chunk, first, end, used, cache, layer, w);
      w.sequences.push_back({chunk.first_row, chunk.rows, chunk.position, first, end, nullptr, used});
      used += end - first;
      if (keys <= w.expanded_keys) break;
      attend(query, used, first == 0, end == keys, w, stream);
      w.sequences.clear();
      used = 0;
    }
  }
  flush();
}

void MlaAttention::decode(const Batch& batch, Matrix<const float> q, const kv::Cache& cache, int layer,
                          const Rope& rope, Workspace& w, Stream& stream) const {
  const std::int64_t first = batch.prefill_rows(), rows = batch.tokens() - first;
  const Activations nope{w.nope.data(), activations_, rows, heads_ * nope_, heads_ * nope_};
  const Activations absorbed{w.absorbed.data(), activations_, rows, heads_ * row(), heads_ * row()};
  const Activations mixed{w.mixed.data(), activations_, rows, heads_ * kv_lora_, heads_ * kv_lora_};
  query_->run({{q.row(first), rows, q.cols, q.stride}, heads_, nope_, rope.table(), batch.positions.data() + first,
               nope, nope_, absorbed.columns(kv_lora_, heads_ * row() - kv_lora_), row()}, stream);
  absorb_.kernel->run({&absorb_.weight, nope.columns(0, nope_), absorbed.columns(0, kv_lora_), nope_, row(), false}, stream);
  w.rows.clear();
  for (const auto& r : batch.decode) w.rows.push_back({r.block_table, r.position + 1});
  const Activations cached = cache.layer(layer);
  ops::AttentionDecode::Args args;
  args.shape = {heads_, 1, row(), kv_lora_, scale_};
  args.q = absorbed;
  args.k = {cached.data, cached.dtype, cached.stride, 0};
  args.v = args.k;
  args.block_size = cache.block_size();
  args.rows = w.rows;
  args.out = mixed;
  fit_decode(w.decode_scratch, args.shape, args.rows);
  args.scratch = w.decode_scratch.data();
  decode_->run(args, stream);
  const Activations out{w.out.data(), activations_, batch.tokens(), heads_ * v_, heads_ * v_};
  expand_v_.kernel->run({&expand_v_.weight, mixed.columns(0, kv_lora_), out.slice_rows(first, rows).columns(0, v_),
                         kv_lora_, v_, false}, stream);
}

void MlaAttention::forward(const Batch& batch, const Activations& x, Matrix<float> hidden, kv::Cache& cache,
                           int layer, const Rope& rope, Workspace& w, Stream& stream) const {
  const Matrix<const float> q = project(batch, x, cache, layer, rope, w, stream);
  if (batch.prefill_rows() > 0) prefill(batch, q, cache, layer, rope, w, stream);
  if (!batch.decode.empty()) decode(batch, q, cache, layer, rope, w, stream);
  const Activations out{w.out.data(), activations_, batch.tokens(), heads_ * v_, heads_ * v_};
  o_.run(out, {hidden.data, DType::kF32, hidden.rows, hidden.cols, hidden.stride}, stream, true);
}

}  // namespace braid::model
