// SPDX-License-Identifier: Apache-2.0
// Grouped-query attention, with biases, sinks and per-head RMSNorm of queries and keys as Config says. A token leaves
// [kv_heads * dim of k | kv_heads * dim of v] in the cache, or the same as ops/fp8_row.h has it; prefill and decode read the pages.
#pragma once

#include <vector>

#include "model/build.h"
#include "model/rope.h"
#include "model/step.h"

namespace braid::model {

class GqaAttention {
 public:
  struct Workspace {
    explicit Workspace(const Builder& builder);
    // What prefill needs of the step; before any layer's forward().
    void plan(const Batch& batch, StepMaker& maker);

    Stream& stream;

    Buffer qkv;  // [tokens, (heads + 2 kv_heads) * dim] float32
    Buffer q;    // [tokens, heads * dim]
    Buffer out;
    Buffer state;
    Buffer decode_scratch;
    // By group of the cache:
    std::vector<std::vector<ops::AttentionPrefill::Sequence>> chunks;
    std::vector<Mirror<ops::AttentionPrefill::Sequence>> sequences;
  };

  // Layer `layer` of the configuration.
  GqaAttention(Builder& builder, const std::string& prefix, int layer);

  static std::int64_t cache_row(const Config& config, DType cache) {
    if (cache == DType::kF8E4M3) return ops::Fp8Row::keys_and_values(config.kv_heads, config.head_dim).bytes();
    return std::int64_t{2} * config.kv_heads * config.head_dim;
  }

  // hidden += attention(x).
  void forward(const Step& step, const Activations& x, Matrix<float> hidden, kv::Cache& cache, int layer,
               const Rope& rope, Workspace& w, Stream& stream) const;

 private:
  ops::Rows keys(const Activations& cached) const;
  ops::Rows values(const Activations& cached) const;

  int heads_, kv_heads_, dim_;
  bool turns_;
  ops::AttentionShape shape_;
  float eps_;
  DType activations_;
  LinearLayer qkv_, o_;
  Buffer q_norm_, k_norm_;  // or empty
  Buffer sinks_;            // [heads] float32, or empty
  const ops::Kernel<ops::GqaPrepare>* prepare_;
  const ops::Kernel<ops::AttentionPrefill>* prefill_;
  const ops::Kernel<ops::AttentionDecode>* decode_;
};

}  // namespace braid::model
