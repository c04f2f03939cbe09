// SPDX-License-Identifier: Apache-2.0
#include "model/attention_gqa.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "model/scratch.h"

namespace braid::model {
namespace {

HeadNorm norm_of(const Config& c, int layer) { return c.turns(layer) ? c.head_norm : HeadNorm::kNone; }

// Where q's norm weights carry the softmax scale and log2(e), scores are exponents of two.
ops::AttentionShape shape_of(const Config& c, int layer) {
  const float scale = norm_of(c, layer) != HeadNorm::kNone ? std::numbers::ln2_v<float> : 1.0f / std::sqrt(static_cast<float>(c.head_dim));
  ops::AttentionShape shape{c.heads, c.kv_heads, c.head_dim, c.head_dim, scale};
  const kv::KeySpan span = c.keys_of(layer);
  shape.window = span.window;
  shape.chunk = span.chunk;
  shape.sinks = c.sinks;
  return shape;
}

std::string text_of(const ops::AttentionShape& s) {
  const std::string heads = std::to_string(s.heads) + "/" + std::to_string(s.kv_heads) + " heads of " + std::to_string(s.qk_dim);
  return heads + (s.window > 0 ? ", window " + std::to_string(s.window) : "") + (s.chunk > 0 ? ", chunks of " + std::to_string(s.chunk) : "") +
         (s.sinks ? ", sinks" : "");
}

}  // namespace

GqaAttention::Workspace::Workspace(const Builder& b) : stream(b.stream()) {
  const Config& c = b.config();
  const Options& o = b.options();
  const DType activations = b.activations();
  const std::int64_t tokens = std::max(o.max_batched_tokens, o.max_sequences);
  const auto units = static_cast<std::size_t>(tokens * c.heads * c.head_dim) * size_of(activations);
  qkv = stream.allocate(static_cast<std::size_t>(tokens * (c.heads + 2 * c.kv_heads) * c.head_dim) * sizeof(float));
  q = stream.allocate(units);
  out = stream.allocate(units);
  state = stream.allocate(ops::AttentionPrefill::state_bytes(shape_of(c, 0), tokens));
}

void GqaAttention::Workspace::plan(const Batch& batch, StepMaker& maker) {
  chunks.resize(static_cast<std::size_t>(maker.groups()));
  sequences.clear();
  for (int g = 0; g < maker.groups(); ++g) {
    auto& own = chunks[static_cast<std::size_t>(g)];
    own.clear();
    for (const auto& c : batch.prefill) own.push_back({c.first_row, c.rows, c.position, 0, c.position + c.rows, maker.table(c, g), 0});
    sequences.push_back(maker.staging().put(std::span<const ops::AttentionPrefill::Sequence>(own)));
  }
}

GqaAttention::GqaAttention(Builder& b, const std::string& prefix, int layer)
    : heads_(b.config().heads), kv_heads_(b.config().kv_heads), dim_(b.config().head_dim), turns_(b.config().turns(layer)), shape_(shape_of(b.config(), layer)),
      eps_(b.config().rms_eps), activations_(b.activations()) {
  const int hidden = b.config().hidden;
  qkv_ = b.linear({{prefix + ".q_proj.weight", heads_ * dim_, hidden},
                   {prefix + ".k_proj.weight", kv_heads_ * dim_, hidden},
                   {prefix + ".v_proj.weight", kv_heads_ * dim_, hidden}}, b.config().qkv_bias);
  o_ = b.linear({{prefix + ".o_proj.weight", hidden, heads_ * dim_}}, b.config().o_bias);
  const HeadNorm norm = norm_of(b.config(), layer);
  const float in_exponents = std::numbers::log2e_v<float> / std::sqrt(static_cast<float>(dim_));
  if (norm == HeadNorm::kWeighted) {
    q_norm_ = b.vector(prefix + ".q_norm.weight", dim_, in_exponents);
    k_norm_ = b.vector(prefix + ".k_norm.weight", dim_);
  } else if (norm == HeadNorm::kPlain) {
    q_norm_ = upload(b.stream(), std::vector<float>(static_cast<std::size_t>(dim_), in_exponents));
    k_norm_ = upload(b.stream(), std::vector<float>(static_cast<std::size_t>(dim_), 1.0f));
  }
  if (shape_.sinks) sinks_ = b.vector(prefix + ".sinks", heads_);
  const std::string text = text_of(shape_);
  prepare_ = b.choose(b.lists().gqa_prepare, {activations_, b.cache()}, text);
  prefill_ = b.choose(b.lists().attention_prefill, {activations_, b.cache(), shape_}, text);
  decode_ = b.choose(b.lists().attention_decode, {activations_, b.cache(), shape_}, text);
}

ops::Rows GqaAttention::keys(const Activations& cached) const {
  return {cached.data, cached.dtype, cached.stride, dim_, ops::Fp8Row::keys_and_values(kv_heads_, dim_)};
}

ops::Rows GqaAttention::values(const Activations& cached) const {
  const std::int64_t keys = kv_heads_ * dim_;
  const bool fp8 = cached.dtype == DType::kF8E4M3;
  return {fp8 ? cached.data : cached.columns(keys, keys).data, cached.dtype, cached.stride, dim_,
          ops::Fp8Row::keys_and_values(kv_heads_, dim_), fp8 ? keys : 0};
}

void GqaAttention::forward(const Step& step, const Activations& x, Matrix<float> hidden, kv::Cache& cache,
                           int layer, const Rope& rope, Workspace& w, Stream& stream) const {
  const std::int64_t tokens = x.rows, width = heads_ * dim_, all = (heads_ + 2 * kv_heads_) * dim_;
  const Activations cached = cache.layer(layer);
  const auto group = static_cast<std::size_t>(cache.group_of(layer));
  const Step::Pages& pages = step.pages[group];
  const Activations q{w.q.data(), activations_, tokens, width, width};
  const Activations out{w.out.data(), activations_, tokens, width, width};
  qkv_.run(x, {w.qkv.data(), DType::kF32, tokens, all, all}, stream);
  prepare_->run({{w.qkv.as<float>(), tokens, all}, heads_, kv_heads_, dim_, q_norm_.as<float>(), k_norm_.as<float>(),
                 eps_, turns_ ? rope.table() : ops::RopeTable(), step.positions.device, pages.slots.device, q, cached,
                 turns_ ? nullptr : rope.q_scales()}, stream);
  const std::int64_t first = step.prefill_rows, rows = step.decode_rows();
  if (first > 0) {
    prefill_->run({shape_, q.slice_rows(0, first), keys(cached), values(cached), step.block_size, w.sequences[group],
                   out.slice_rows(0, first), w.state.as<float>(), true, true, sinks_.as<float>()}, stream);
  }
  if (rows > 0) {
    fit_decode(w.decode_scratch, shape_, pages.decode, stream);
    decode_->run({shape_, q.slice_rows(first, rows), keys(cached), values(cached), step.block_size, pages.decode,
                  out.slice_rows(first, rows), w.decode_scratch.data(), sinks_.as<float>()}, stream);
  }
  o_.run(out, {hidden.data, DType::kF32, hidden.rows, hidden.cols, hidden.stride}, stream, true);
}

}  // namespace braid::model
