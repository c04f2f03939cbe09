// SPDX-License-Identifier: Apache-2.0
// PrepareFinalize of a single rank: (token, expert) pairs are sorted by expert (ops::Arrange), and
// nothing moves.
#pragma once

#include "moe/prepare.h"
#include "ops/kernel.h"
#include "ops/routing.h"

namespace braid::moe {

class PrepareLocal final : public PrepareFinalize {
 public:
  // `shared`: the layers have a shared expert. Kernels and `stream` outlive it.
  PrepareLocal(int experts, int top_k, bool shared, std::int64_t max_tokens, const ops::Kernel<ops::Arrange>* arrange,
               const ops::Kernel<ops::Combine>* combine, Stream& stream);

  std::string_view name() const override { return "local"; }
  std::int64_t max_tokens() const override { return max_tokens_; }
  bool local() const override { return true; }
  Format format() const override { return Format::kRagged; }
  Activations staging() const override { return {}; }
  const Traffic& traffic() const override { return traffic_; }
  Status send(const Activations& x, const Routing& routing, int layer) override;
  Result<Dispatched> receive() override;
  Status send_back(Matrix<const float> results) override;
  Status collect(Matrix<float> hidden) override;

 private:
  const std::int64_t max_tokens_;
  const int experts_;
  const bool shared_;
  const ops::Kernel<ops::Arrange>* const arrange_;
  const ops::Kernel<ops::Combine>* const combine_;
  Stream& stream_;
  Traffic traffic_;
  Buffer offsets_, row_token_, slots_, weights_;
  Activations x_;
  ops::Arrange::Args sorted_;
  Matrix<const float> results_;
};

}  // namespace braid::moe
