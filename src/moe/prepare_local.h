// SPDX-License-Identifier: Apache-2.0
// PrepareFinalize of a single rank: a counting sort of (token, expert) pairs; tokens keep their
// order inside an expert. Nothing moves.
#pragma once

#include <vector>

#include "moe/prepare.h"
#include "ops/kernel.h"
#include "ops/routing.h"

namespace braid::moe {

class PrepareLocal final : public PrepareFinalize {
 public:
  // `shared`: every send_back() brings the shared expert's rows. `combine` and `stream` outlive it.
  PrepareLocal(int experts, int top_k, bool shared, std::int64_t max_tokens,
               const ops::Kernel<ops::Combine>* combine, Stream& stream);

  std::string_view name() const override { return "local"; }
  std::int64_t max_tokens() const override { return max_tokens_; }
  bool local() const override { return true; }
  Traffic traffic() const override { return {}; }
  Status send(const Activations& x, const Routing& routing, int layer) override;
  Result<Dispatched> receive() override;
  Status send_back(Matrix<const float> results, std::int64_t shared_first) override;
  Status collect(Matrix<float> hidden) override;

 private:
  const std::int64_t max_tokens_;
  const int per_token_;  // results that a token gets: top_k, and one of the shared expert
  const ops::Kernel<ops::Combine>* combine_;
  Stream& stream_;
  Activations x_;
  Routing routing_;
  Matrix<const float> results_;
  std::vector<std::int32_t> offsets_;
  std::vector<std::int32_t> cursor_;
  std::vector<std::int32_t> row_token_;
  std::vector<std::int32_t> slots_;  // [tokens, per_token]: result row of each choice
  std::vector<float> weights_;       // [tokens, per_token]
};

}  // namespace braid::moe
