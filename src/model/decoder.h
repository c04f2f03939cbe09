// SPDX-License-Identifier: Apache-2.0
// What every decoder family shares: embedding, feed-forward halves, final norm and head, and the
// step's workspace. The residual stream is float32 [tokens, hidden].
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "model/build.h"
#include "model/rope.h"

namespace braid::model {

// Scratch of one forward(), sized for the most tokens of a step.
struct Workspace {
  explicit Workspace(Builder& builder);

  std::int64_t max_tokens;
  Buffer hidden;      // [tokens, hidden] float32, the residual stream
  Buffer normed;      // [tokens, hidden] activations
  Buffer exact;       // the same in float32
  Buffer mlp_rows;    // [tokens, hidden] float32
  Buffer mlp_scratch;
  std::vector<std::int32_t> slots;  // 0, 1, 2, ...
  std::vector<float> ones;
  std::unique_ptr<moe::Workspace> moe;  // null without mixtures
};

// The second half of a layer: dense or mixture.
struct FeedForward {
  std::vector<float> norm;
  std::optional<MlpLayer> dense;
  std::optional<moe::Layer> mixture;
};

class Decoder {
 public:
  explicit Decoder(Builder& builder);

  FeedForward feed_forward(Builder& builder, const std::string& prefix, int layer) const;

  Matrix<float> embed(const Batch& batch);
  // Rows of the residual stream, normalised into activations; `exact` in float32 too.
  Activations norm(Matrix<float> hidden, const std::vector<float>& weight, bool exact);
  // The float32 rows alone; valid until the next norm.
  Matrix<float> norm_exact(Matrix<float> hidden, const std::vector<float>& weight);
  void norm_into(Matrix<const float> x, const std::vector<float>& weight, const Activations& out, Matrix<float> exact);
  // hidden += the half; `most_tokens` as in Batch.
  Status run(FeedForward& half, Matrix<float> hidden, std::int64_t most_tokens, int layer, const Trace* trace);
  Matrix<const float> logits(const Batch& batch, Matrix<float> hidden, const std::vector<float>& norm);

  // The residual stream as the last step left it, and those rows of it whose logits were taken.
  Matrix<const float> residual() const;
  Matrix<const float> head_rows() const;
  const std::vector<float>& final_norm() const { return final_norm_; }

  Workspace& workspace() { return workspace_; }
  Stream& stream() { return stream_; }
  DType activations() const { return activations_; }

 private:
  const Config config_;
  Stream& stream_;
  DType activations_;
  Workspace workspace_;
  Buffer table_;
  std::vector<float> final_norm_;
  LinearLayer head_;
  const ops::Kernel<ops::Embed>* embed_;
  const ops::Kernel<ops::RmsNorm>* norm_;
  const ops::Kernel<ops::Combine>* combine_;
  std::vector<float> rows_;
  std::vector<float> logits_;
  Buffer head_input_;
};

}  // namespace braid::model
