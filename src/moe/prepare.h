// SPDX-License-Identifier: Apache-2.0
// Brings tokens to their experts and the results home: the PrepareFinalize half of a MoE layer.
// Four halves in this order, once per layer and chunk of tokens:
//   send, receive           what the local experts work on arrives
//   send_back, collect      their results return to the tokens
// Other work (the shared expert, another micro-batch) may run between send and receive and between
// send_back and collect. All ranks of a group make the same calls, a rank without tokens too.
// Thread rules: one thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"
#include "moe/placement/placement.h"
#include "tensor/tensor.h"

namespace braid::moe {

// Which experts each token goes to, and with what weight. ids and weights are [tokens, top_k];
// they lie where kernels read them and stay valid until collect().
struct Routing {
  std::int64_t tokens = 0;
  int top_k = 0;
  const std::int32_t* ids = nullptr;
  const float* weights = nullptr;
  const Placement* placement = nullptr;  // of this layer
};

// Rows sorted by local slot ("ragged" format): slot s owns rows [offsets[s], offsets[s + 1]); row r
// is row row_token[r] of x. When local() and there is a shared expert, it is one more slot, of all
// tokens. Where kernels read them; the host too unless local(). Valid until send_back().
struct Dispatched {
  Activations x;
  std::span<const std::int32_t> offsets;    // [local slots + 1]
  std::span<const std::int32_t> row_token;  // [rows]
};

// What has travelled since the object was made, as this rank sees it.
struct Traffic {
  std::uint64_t dispatched_bytes = 0;  // written to other ranks before their experts work
  std::uint64_t returned_bytes = 0;    // results written to other ranks
};

class PrepareFinalize {
 public:
  virtual ~PrepareFinalize() = default;
  virtual std::string_view name() const = 0;
  // Most tokens of one send(); a layer splits what is more into chunks, all ranks equally many.
  virtual std::int64_t max_tokens() const = 0;
  // Nothing travels: receive() gives back what send() got, so the shared expert is one more slot of
  // it.
  virtual bool local() const = 0;
  virtual Traffic traffic() const = 0;

  virtual Status send(const Activations& x, const Routing& routing, int layer) = 0;
  virtual Result<Dispatched> receive() = 0;
  // results [rows, hidden], one row per row of Dispatched; valid until collect().
  virtual Status send_back(Matrix<const float> results) = 0;
  // hidden[t] += sum over choices of weight * result, in the order of choices where the backend can.
  virtual Status collect(Matrix<float> hidden) = 0;
};

}  // namespace braid::moe
