// SPDX-License-Identifier: Apache-2.0
// One layer of a decoder: attention and a feed-forward half, each after a norm and added to the
// residual stream. An Attention has
//   Workspace(builder) with plan(batch, step maker), constructor(builder, prefix, layer),
//   cache_row(config, dtype): elements that a token leaves in a layer's cache, and
//   forward(step, x, hidden, cache, layer, rope, workspace, stream): hidden += attention(x).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/decoder.h"

namespace braid::model {

// What the layers of one model have in common.
template <class Attention>
struct LayerContext {
  LayerContext(Builder& b, Rope r) : decoder(b), rope(std::move(r)), whole(b) {
    for (int lane = 0; lane < 2 && b.options().two_micro_batches; ++lane) halves.push_back(std::make_unique<Space>(b));
  }

  // What attention needs for one batch.
  struct Space {
    explicit Space(Builder& b) : workspace(b), maker(b.stream()) {}

    // What kernels must know of a batch; `sources` as in DraftModule::draft().
    Step begin(const Batch& batch, const kv::Cache& cache, std::span<const std::int32_t> sources = {}) {
      const Step step = maker.begin(batch, sources, cache.block_size());
      workspace.plan(batch, maker);
      maker.staging().send();
      return step;
    }

    typename Attention::Workspace workspace;
    StepMaker maker;
  };

  Decoder decoder;
  Rope rope;
  Space whole;
  std::vector<std::unique_ptr<Space>> halves;  // two, or none
};

template <class Attention>
class DecoderLayer {
 public:
  // Layer `index` of the checkpoint and of the cache.
  DecoderLayer(Builder& b, const Decoder& decoder, int index)
      : index_(index),
        norm_(b.vector(b.config().layer_name(index) + ".input_layernorm.weight", b.config().hidden)),
        attention_(b, b.config().layer_name(index) + ".self_attn", index),
        feed_forward_(decoder.feed_forward(b, b.config().layer_name(index), index)) {}

  // Null in a dense layer.
  moe::Layer* mixture() { return feed_forward_.mixture ? &*feed_forward_.mixture : nullptr; }

  using Context = LayerContext<Attention>;

  // The stages of Stage::What.
  Status enter(const Step& step, Matrix<float> hidden, kv::Cache& cache, Context& context, typename Context::Space& space,
               const Lane& lane) {
    Decoder& decoder = context.decoder;
    attend(step, hidden, cache, context, space, lane);
    return decoder.begin(feed_forward_, hidden, step, lane);
  }
  Status compute(Context& context, const Lane& lane) { return context.decoder.compute(feed_forward_, lane); }
  Status finish(Context& context, const Lane& lane, const Trace* trace) {
    return context.decoder.finish(feed_forward_, lane, index_, trace);
  }

  Status forward(const Step& step, Matrix<float> hidden, kv::Cache& cache, Context& context, const Trace* trace) {
    Decoder& decoder = context.decoder;
    const Timeline::Scope scope(decoder.timeline(), "layer", "layer", index_);
    RETURN_IF_ERROR(enter(step, hidden, cache, context, context.whole, {}));
    RETURN_IF_ERROR(compute(context, {}));
    RETURN_IF_ERROR(finish(context, {}, trace));
    return decoder.show(trace, index_, {hidden.data, hidden.rows, hidden.cols});
  }

 private:
  void attend(const Step& step, Matrix<float> hidden, kv::Cache& cache, Context& context, typename Context::Space& space, const Lane& lane) {
    const Timeline::Scope scope(context.decoder.timeline(), "attention", "layer", index_);
    const Activations x = context.decoder.norm(hidden, norm_, false, lane);
    attention_.forward(step, x, hidden, cache, index_, context.rope, space.workspace, context.decoder.stream());
  }

  int index_;
  Buffer norm_;
  Attention attention_;
  FeedForward feed_forward_;
};

}  // namespace braid::model
