// SPDX-License-Identifier: Apache-2.0
// PrepareFinalize of a single rank: a counting sort of (token, expert) pairs; tokens keep their
// order inside an expert.
#pragma once

#include "moe/prepare.h"

namespace braid::moe {

class PrepareLocal final : public PrepareFinalize {
 public:
  PrepareLocal(int experts, int top_k, std::int64_t max_tokens);

  void send(const Activations& x, const Routing& routing) override;
  Dispatched receive() override;
  std::span<const std::int32_t> slots() const override;

 private:
  Activations x_;
  std::size_t pairs_ = 0;
  std::vector<std::int32_t> offsets_;
  std::vector<std::int32_t> cursor_;
  std::vector<std::int32_t> row_token_;
  std::vector<std::int32_t> slots_;
};

}  // namespace braid::moe
