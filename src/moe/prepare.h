// SPDX-License-Identifier: Apache-2.0
// Brings tokens to their experts and the results back. send/receive deliver what the experts work
// on; return_rows/collect bring each (token, expert) row home. With one rank nothing moves: tokens
// are only sorted by expert. Thread rules: one thread; used once per MoE layer and step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace braid::moe {

// Which experts each token goes to, and with what weight. ids and weights are [tokens, top_k].
struct Routing {
  std::int64_t tokens = 0;
  int top_k = 0;
  const std::int32_t* ids = nullptr;
  const float* weights = nullptr;
};

// Rows sorted by local expert ("ragged" format): expert e owns rows
// [offsets[e], offsets[e + 1]); row r is token row_token[r] of x.
struct Dispatched {
  Activations x;
  std::span<const std::int32_t> offsets;    // [local experts + 1]
  std::span<const std::int32_t> row_token;  // [rows]
};

class PrepareFinalize {
 public:
  virtual ~PrepareFinalize() = default;
  virtual void send(const Activations& x, const Routing& routing) = 0;
  virtual Dispatched receive() = 0;
  // slots[t * top_k + j]: which expert output row belongs to choice j of token t.
  virtual std::span<const std::int32_t> slots() const = 0;
};

}  // namespace braid::moe
