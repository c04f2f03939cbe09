// SPDX-License-Identifier: Apache-2.0
// A mixture-of-experts layer: gate -> prepare.send -> (shared expert) -> prepare.receive ->
// experts -> finalize. The shared expert is one more group of the same grouped MLP, so that a
// decode step pays for two phases only. Thread rules: one thread.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "moe/prepare.h"
#include "ops/backend.h"

namespace braid::moe {

// What a layer is made of; kernels were selected and weights packed by the model's builder.
struct Parts {
  ops::Route::Problem routing;
  const ops::Kernel<ops::Linear>* gate_kernel = nullptr;
  const ops::Kernel<ops::Route>* route_kernel = nullptr;
  const ops::Kernel<ops::GroupedMlp>* mlp_kernel = nullptr;
  const ops::Kernel<ops::Combine>* combine_kernel = nullptr;
  ops::PackedWeight gate;            // [experts, hidden], float32
  std::vector<float> bias;           // [experts] or empty
  std::vector<ops::PackedMlp> experts;
  std::vector<ops::PackedMlp> shared;  // none or one
};

// Scratch of one step, shared by all layers.
struct Workspace {
  Workspace(int experts, int top_k, bool shared, std::int64_t hidden, std::int64_t max_inter,
            std::int64_t max_tokens);

  std::unique_ptr<PrepareFinalize> prepare;
  std::vector<float> logits;
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  std::vector<std::int32_t> row_token;
  std::vector<std::int32_t> slots;
  std::vector<float> slot_weights;
  std::vector<ops::MlpGroup> groups;
  Buffer rows;
  Buffer scratch;
};

class Layer {
 public:
  explicit Layer(Parts parts) : parts_(std::move(parts)) {}

  struct Observed {
    Matrix<const float> logits;
    std::span<const std::int32_t> ids;
    std::span<const float> weights;
  };

  // hidden += moe(x). `exact` is x in float32, for the router.
  Result<Observed> forward(const Activations& x, Matrix<const float> exact, Matrix<float> hidden, Workspace& w,
                   Stream& stream) const;
  const Parts& parts() const { return parts_; }
  std::size_t bytes() const;

 private:
  std::int64_t gather_groups(const Dispatched& dispatched, std::int64_t tokens, Workspace& w) const;

  Parts parts_;
};

}  // namespace braid::moe
