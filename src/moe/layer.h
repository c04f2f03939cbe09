// SPDX-License-Identifier: Apache-2.0
// A mixture-of-experts layer: gate -> prepare.send -> (shared expert) -> prepare.receive ->
// experts -> prepare.send_back -> prepare.collect. Where nothing travels, the shared expert is one
// more group of the same grouped MLP, so that a decode step pays for two phases only (unless inputs are
// scaled: those of the shared expert are not).
//
// Experts move between slots (placement/): between two steps, on every rank alike, the weights in
// slots() are replaced by those of the experts that a new placement has there (in the memory of before where kernels
// have memory of their own), and apply() is given that placement. Nothing else of a layer changes.
// Thread rules: one thread; slots() may be read by others while no one replaces them.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/timeline.h"
#include "moe/expert_parallel.h"
#include "moe/experts.h"
#include "moe/placement/on_device.h"
#include "moe/prepare.h"
#include "ops/backend.h"

namespace braid::moe {

// What a layer is made of; kernels were selected and weights packed by the model's builder.
struct Parts {
  int index = 0;  // of the layer in the model
  ops::Route::Problem routing;
  bool scaled_inputs = false;  // the weight of a token's one expert multiplies its input, not its result
  const ops::Kernel<ops::Linear>* gate_kernel = nullptr;
  const ops::Kernel<ops::Route>* route_kernel = nullptr;
  const ops::Kernel<ops::GroupedMlp>* mlp_kernel = nullptr;
  const ops::Kernel<ops::Combine>* combine_kernel = nullptr;
  // Packs an expert's weights anew; only where experts are spread over ranks.
  std::function<Result<ops::PackedMlp>(int expert)> load;
  ops::PackedWeight gate;            // [routing.logits(), hidden], float32
  Buffer gate_bias;                  // [routing.logits()] float32, or empty
  Buffer bias;                       // [experts] float32, or empty; takes part in choosing
  Placement placement = Placement::linear(1, 1);
  std::vector<ops::PackedMlp> experts;  // one a local slot; those of empty slots are never used
  std::vector<ops::PackedMlp> shared;   // none or one
};

// Scratch of one step, shared by all layers, where kernels work on it.
struct Workspace {
  Workspace(const LayerShape& shape, std::int64_t max_inter, Stream& stream);
  // To be called before the first step, and again when other ranks take part.
  void use(std::unique_ptr<PrepareFinalize> prepare);

  // Of both micro-batches.
  Traffic traffic() const;
  // Where x may lie so that it need not be copied; none where what is sent is not x itself.
  Activations staging() const { return shape.scaled_inputs ? Activations{} : prepare->staging(); }
  // Whether the shared expert is computed by itself.
  bool shared_apart() const { return shape.shared && !(prepare->local() && shape.shared_is_slot()); }

  const LayerShape shape;
  Stream& stream;
  Timeline* timeline = nullptr;  // learns of each stage; null: nobody asks
  std::unique_ptr<PrepareFinalize> prepare;
  Buffer logits;   // [tokens, experts] float32, one more column with a gate of the shared expert
  Buffer ids;      // [tokens, top_k] int32
  Buffer weights;  // [tokens, top_k] float32
  Buffer shared_weights;  // [tokens] float32, or empty
  ExpertsScratch experts;
  std::unique_ptr<Workspace> other;  // of the second of two micro-batches, or null
  std::unique_ptr<SlotRows> slot_rows;  // where kernels count them for a Rebalancer, or null
  std::int64_t first_row = 0;        // of the step's tokens, set before begin()
  bool beside = false;               // likewise, whether the other micro-batch computes meanwhile
  // Between begin() and finish():
  Activations x;
  Matrix<float> hidden;
  std::int64_t most_tokens = 0;
  std::int64_t first = 0;  // of the chunk at hand
  Buffer scaled;       // a chunk's inputs times their weights
  Buffer shared_rows;  // the shared expert's, where it is apart
  Buffer own_rows;     // int32: 0, 1, 2, ...
  Buffer row_counts;   // int32: 0, 0, 0, 1, 0, 2, ...: the offsets of one group of that many rows
  Buffer ones;         // float32
};

class Layer {
 public:
  // `rank` of the placement.
  Layer(Parts parts, int rank) : parts_(std::move(parts)), rank_(rank), slot_rows_(parts_.experts.size()) {}

  // What the router said; where kernels read it.
  struct Observed {
    Matrix<const float> logits;
    std::span<const std::int32_t> ids;
    std::span<const float> weights;
  };

  // hidden += moe(x) is begin(), compute() and finish() with the same workspace; other work may run
  // between them. x and hidden stay valid until finish(). `exact` is x in float32, for the router. `most_tokens`: the largest number of
  // tokens that any rank brings to this layer in this step, x.rows when alone.
  Status begin(const Activations& x, Matrix<const float> exact, Matrix<float> hidden, std::int64_t most_tokens, Workspace& w,
               Stream& stream);
  Status compute(Workspace& w, Stream& stream);
  Result<Observed> finish(Workspace& w, Stream& stream);
  const Parts& parts() const { return parts_; }
  // Takes up another placement as `rank` of it, between steps: keeps the weights that it has, loads
  // those that it lacks. An error leaves the layer as it was.
  Status place(Placement placement, int rank);
  // What the own slots hold, -1: nothing.
  std::vector<std::int32_t> held() const;
  const Placement& placement() const { return parts_.placement; }
  // The weights of the local experts, by slot; see above.
  std::span<ops::PackedMlp> slots() { return parts_.experts; }
  // From the next begin() on. It has as many slots as the one before.
  void apply(Placement placement, Stream& stream);
  // Kernels count into the `layer`-th part of it, which outlives the layer's steps; null: they don't.
  void count_in(const SlotRows* rows, std::size_t layer);
  // Rows that each local slot has computed since the start; counted where the host sees what travels, or by kernels.
  std::span<const std::int64_t> slot_rows() const { return counted_ ? counted_->shown(counted_at_) : slot_rows_; }
  std::size_t bytes() const;

 private:
  std::int64_t chunk_tokens(const Workspace& w) const;
  Matrix<float> chunk_hidden(const Workspace& w) const;
  Activations chunk_x(const Workspace& w) const;
  Status send(Workspace& w, Stream& stream) const;
  Result<Dispatched> receive(Workspace& w) const;
  Activations scaled_chunk(Workspace& w, Stream& stream) const;
  Status collect(Workspace& w, Stream& stream) const;
  void run_shared(const Activations& x, Workspace& w, Stream& stream) const;
  void add_shared(Matrix<float> hidden, Workspace& w, Stream& stream) const;

  Parts parts_;
  int rank_ = 0;  // in the placement
  std::vector<std::int64_t> slot_rows_;
  const SlotRows* counted_ = nullptr;
  std::size_t counted_at_ = 0;
  DevicePlacement on_device_;  // empty until it is needed
};

}  // namespace braid::moe
