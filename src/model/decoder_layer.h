// SPDX-License-Identifier: Apache-2.0
// One layer of a decoder: attention and a feed-forward half, each after a norm and added to the
// residual stream. An Attention has
//   Workspace{config, options, activations}, constructor(builder, prefix),
//   cache_row(config): elements that a token leaves in a layer's cache, and
//   forward(batch, x, hidden, cache, layer, rope, workspace, stream): hidden += attention(x).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/decoder.h"

namespace braid::model {

// What the layers of one model have in common.
template <class Attention>
struct LayerContext {
  LayerContext(Builder& b, Rope r) : decoder(b), rope(std::move(r)), workspace(b.config(), b.options(), b.activations()) {}

  Decoder decoder;
  Rope rope;
  typename Attention::Workspace workspace;
};

template <class Attention>
class DecoderLayer {
 public:
  // Layer `index` of the checkpoint and of the cache.
  DecoderLayer(Builder& b, const Decoder& decoder, int index)
      : index_(index),
        norm_(b.vector(prefix(index) + ".input_layernorm.weight", b.config().hidden)),
        attention_(b, prefix(index) + ".self_attn"),
        feed_forward_(decoder.feed_forward(b, prefix(index), index)) {}

  static std::string prefix(int index) { return "model.layers." + std::to_string(index); }

  // Null in a dense layer.
  moe::Layer* mixture() { return feed_forward_.mixture ? &*feed_forward_.mixture : nullptr; }

  Status forward(const Batch& batch, Matrix<float> hidden, kv::Cache& cache, LayerContext<Attention>& context,
                 const Trace* trace) {
    Decoder& decoder = context.decoder;
    const Activations x = decoder.norm(hidden, norm_, false);
    attention_.forward(batch, x, hidden, cache, index_, context.rope, context.workspace, decoder.stream());
    RETURN_IF_ERROR(decoder.run(feed_forward_, hidden, batch.most_tokens, index_, trace));
    if (trace && trace->hidden) trace->hidden(index_, {hidden.data, hidden.rows, hidden.cols});
    return Status::success();
  }

 private:
  int index_;
  std::vector<float> norm_;
  Attention attention_;
  FeedForward feed_forward_;
};

}  // namespace braid::model
