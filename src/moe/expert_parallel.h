// SPDX-License-Identifier: Apache-2.0
// How a model's experts are spread over a group of ranks, and what carries the tokens.
#pragma once

#include <memory>
#include <string>

#include "fabric/group.h"
#include "moe/backends.h"
#include "ops/exchange.h"
#include "ops/kernel.h"
#include "ops/routing.h"

namespace braid::moe {

// Outlives the models built with it.
struct ExpertParallel {
  fabric::Bootstrap* bootstrap = nullptr;
  fabric::Transport* transport = nullptr;
  All2All backend = All2All::kAuto;
  std::int64_t buffer_tokens = 0;  // most tokens that one dispatch carries; more go in chunks
  bool deterministic = false;      // bit for bit what one rank computes, whatever the payload asks for
  int redundant_experts = 0;
  bool balanced = false;           // a Rebalancer will move experts: kernels count the rows of slots
  Duration timeout = std::chrono::seconds(60);
  Payload payload = Payload::kAuto;
};

// What a model's MoE layers have in common.
struct LayerShape {
  int experts = 0;
  int top_k = 0;
  bool shared = false;
  std::int64_t hidden = 0;
  std::int64_t max_tokens = 0;
  DType x = DType::kBF16;
  ops::MakeExchange exchange = nullptr;  // how the device itself moves rows between ranks, if it does
  bool shared_gate = false;              // the shared expert has a weight for each token
  bool scaled_inputs = false;            // as Parts::scaled_inputs

  // Whether the shared expert is one more slot where nothing travels.
  bool shared_is_slot() const { return shared && !scaled_inputs; }
};

// What choose_backend() is asked for such layers.
Messages messages_of(const LayerShape& shape, int ranks, bool direct, std::int64_t buffer_tokens);

// Bytes that make_prepare() and the results of its rows will take, about, where devices exchange rows themselves.
std::size_t device_bytes(const LayerShape& shape, const ExpertParallel& parallel, std::int64_t widest);

// Collective when `parallel` is given. Logs the backend, why, and the bytes of its buffers before it
// allocates them. `arrange` is for a single rank only.
Result<std::unique_ptr<PrepareFinalize>> make_prepare(const LayerShape& shape, const ExpertParallel* parallel,
                                                      const ops::Kernel<ops::Arrange>* arrange,
                                                      const ops::Kernel<ops::Combine>* combine, Stream& stream);

}  // namespace braid::moe
