// SPDX-License-Identifier: Apache-2.0
// Multi-head latent attention (DeepSeek-V2, 2405.04434). A token leaves one cache row,
// [kv_lora | rope], or the same as ops/fp8_row.h has it. Prefill rows attend to keys and values expanded from those rows, a piece of the
// context at a time; decode rows attend to the rows themselves, with the key projection absorbed
// into the query and the value projection applied to the result.
#pragma once

#include <memory>
#include <vector>

#include "model/build.h"
#include "model/rope.h"
#include "model/step.h"

namespace braid::model {

class MlaAttention {
 public:
  // Scratch shared by all layers; sized for the most tokens and the most keys expanded at once.
  struct Workspace {
    explicit Workspace(const Builder& builder);
    static constexpr std::int64_t kExpandedKeys = 2048;                      // and multiples of it
    static constexpr std::int64_t kExpandedBytes = std::int64_t{512} << 20;  // where kernels have memory of their own

    // Keys that are expanded at once, of one or more sequences, and the queries that they meet.
    struct Piece {
      std::vector<std::int32_t> cache_rows;
      std::vector<ops::AttentionPrefill::Sequence> queries;
      bool first = true;  // segment of its sequences, and last
      bool last = true;
      Mirror<std::int32_t> rows;
      Mirror<ops::AttentionPrefill::Sequence> sequences;
      std::int64_t keys() const { return static_cast<std::int64_t>(cache_rows.size()); }
    };
    // What prefill needs of the step; before any layer's forward().
    void plan(const Batch& batch, StepMaker& maker);

    Stream& stream;
    std::int64_t expanded_keys;
    std::vector<Piece> pieces;
    Buffer projected;   // [tokens, query or q_lora + kv_lora + rope] float32
    Buffer q_latent;    // [tokens, q_lora] activations
    Buffer q;           // [tokens, heads * (nope + rope)] float32
    Buffer query;       // the same, rotated, activations
    Buffer nope;        // [decode rows, heads * nope]
    Buffer absorbed;    // [decode rows, heads * (kv_lora + rope)]
    Buffer mixed;       // [decode rows, heads * kv_lora]
    Buffer out;         // [tokens, heads * v]
    Buffer latent;      // [expanded keys, kv_lora + rope]
    Buffer keys;        // [expanded keys, heads * (nope + rope)]
    Buffer values;      // [expanded keys, heads * v]
    Buffer state;
    Buffer decode_scratch;
  };

  MlaAttention(Builder& builder, const std::string& prefix, int layer);

  static std::int64_t cache_row(const Config& config, DType cache) {
    return cache == DType::kF8E4M3 ? ops::Fp8Row::latent(config.kv_lora, config.rope_dim).bytes() : config.kv_lora + config.rope_dim;
  }

  // hidden += attention(x).
  void forward(const Step& step, const Activations& x, Matrix<float> hidden, kv::Cache& cache, int layer,
               const Rope& rope, Workspace& w, Stream& stream) const;

 private:
  Matrix<const float> project(const Step& step, const Activations& x, kv::Cache& cache, int layer,
                              const Rope& rope, Workspace& w, Stream& stream) const;
  void prefill(const Step& step, Matrix<const float> q, const Activations& cached, const Rope& rope, Workspace& w,
               Stream& stream) const;
  void expand(const Workspace::Piece& piece, const Activations& cached, Workspace& w, Stream& stream) const;
  void decode(const Step& step, Matrix<const float> q, const kv::Cache& cache, int layer, const Rope& rope,
              Workspace& w, Stream& stream) const;
  int qk() const { return nope_ + rope_; }
  int row() const { return kv_lora_ + rope_; }

  int heads_, q_lora_, kv_lora_, nope_, rope_, v_;
  static constexpr float eps_ = 1e-6f;  // whatever "rms_norm_eps" says
  float scale_;
  DType activations_;
  LinearLayer input_;    // [q_a or q | kv_a]
  LinearLayer q_b_;
  LinearLayer expand_k_, expand_v_, absorb_;
  LinearLayer o_;
  Buffer q_norm_, kv_norm_;
  const ops::Kernel<ops::RmsNorm>* norm_ = nullptr;
  const ops::Kernel<ops::MlaStore>* store_;
  const ops::Kernel<ops::MlaQuery>* query_;
  const ops::Kernel<ops::MlaGather>* gather_;
  const ops::Kernel<ops::AttentionPrefill>* prefill_;
  const ops::Kernel<ops::AttentionDecode>* decode_;
};

}  // namespace braid::model
