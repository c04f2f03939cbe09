// SPDX-License-Identifier: Apache-2.0
// What every decoder family shares: embedding, feed-forward halves, final norm and head, and the
// step's workspace. The residual stream is float32 [tokens, hidden].
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "model/build.h"
#include "model/micro_batches.h"
#include "model/rope.h"
#include "model/step.h"

namespace braid::model {

// Scratch of one forward() in memory of the stream, sized for the most tokens of a step.
struct Workspace {
  explicit Workspace(Builder& builder);

  std::int64_t max_tokens;
  Buffer hidden;      // [tokens, hidden] float32, the residual stream
  Buffer normed;      // [tokens, hidden] activations, where the MoE layers have no place for them
  Buffer exact;       // the same in float32
  Buffer mlp_rows;    // [tokens, hidden] float32
  Buffer mlp_scratch;
  Buffer slots;       // int32: 0, 1, 2, ...
  Buffer ones;        // float32
  std::unique_ptr<moe::Workspace> moe;  // null without mixtures
};

// The second half of a layer: dense or mixture.
struct FeedForward {
  Buffer norm;
  std::optional<MlpLayer> dense;
  std::optional<moe::Layer> mixture;
};

class Decoder {
 public:
  explicit Decoder(Builder& builder);

  FeedForward feed_forward(Builder& builder, const std::string& prefix, int layer) const;

  Matrix<float> embed(const Step& step);
  // Rows of a float32 matrix without gaps, one after another in `to`.
  void gather(Matrix<const float> from, const Mirror<std::int32_t>& rows, Matrix<float> to);
  // Rows of the residual stream, normalised into activations; `exact` in float32 too.
  Activations norm(Matrix<float> hidden, const Buffer& weight, bool exact, const Lane& lane = {});
  // The float32 rows alone; valid until the next norm.
  Matrix<float> norm_exact(Matrix<float> hidden, const Buffer& weight);
  void norm_into(Matrix<const float> x, const Buffer& weight, const Activations& out, Matrix<float> exact);
  // hidden += the half, in the three stages of a moe::Layer.
  Status begin(FeedForward& half, Matrix<float> hidden, const Step& step, const Lane& lane);
  Status compute(FeedForward& half, const Lane& lane);
  Status finish(FeedForward& half, const Lane& lane, int layer, const Trace* trace);
  // Computes logits, and chooses tokens as the step says.
  void head(const Step& step, Matrix<float> hidden, const Buffer& norm);
  // Waits for the step; lets the host read its logits but for those that a token was chosen from, and chosen().
  Result<Matrix<const float>> logits(const Step& step);
  bool chooses() const { return choose_ != nullptr; }
  std::span<const std::int32_t> chosen() const { return chosen_; }
  // Tells the trace, if it wants to know.
  Status show(const Trace* trace, int layer, Matrix<const float> hidden);

  // The residual stream as the last step left it, and those rows of it whose logits were taken; where
  // kernels read them.
  Matrix<const float> residual() const;
  Matrix<const float> head_rows() const;
  const Buffer& final_norm() const { return final_norm_; }

  Workspace& workspace() { return workspace_; }
  const Workspace& workspace() const { return workspace_; }
  Stream& stream() const { return stream_; }
  DType activations() const { return activations_; }
  Timeline* timeline() const { return timeline_; }

 private:
  Activations normed(std::int64_t rows, const Lane& lane);
  moe::Workspace& mixture_space(const Lane& lane);

  const Config config_;
  Stream& stream_;
  Timeline* const timeline_;
  DType activations_;
  Workspace workspace_;
  Buffer table_;
  Buffer final_norm_;
  LinearLayer head_;
  const ops::Kernel<ops::Embed>* embed_;
  const ops::Kernel<ops::RmsNorm>* norm_;
  const ops::Kernel<ops::Combine>* combine_;
  const ops::Kernel<ops::Embed>* gather_;
  const ops::Kernel<ops::ChooseTokens>* choose_ = nullptr;  // null: the host does
  Buffer rows_;        // [logit rows, hidden] float32
  Buffer head_input_;  // the same, normalised, activations
  Buffer logits_;      // [logit rows, vocabulary] float32
  Buffer tokens_;      // [logit rows] int32
  std::span<const std::int32_t> chosen_;
  HostCopy logits_read_, tokens_read_, trace_read_[3];
};

}  // namespace braid::model
