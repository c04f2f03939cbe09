// SPDX-License-Identifier: Apache-2.0
// PrepareFinalize across ranks on devices with memory of their own: the halves are the kernels of an
// ops::Exchange, and the host knows of no count. Backends differ in how rows lie for the experts:
// low_latency     where they arrive, found by an index
// high_throughput grouped by expert
// allgather_reducescatter  as low_latency, and every token goes to every rank
#pragma once

#include <memory>

#include "moe/prepare.h"
#include "ops/exchange.h"

namespace braid::moe {

class PrepareDevice final : public PrepareFinalize {
 public:
  // `exchange` was made with `options` and is connected; `name` outlives the object.
  PrepareDevice(std::string_view name, const ops::Exchange::Options& options, std::unique_ptr<ops::Exchange> exchange);

  std::string_view name() const override { return name_; }
  Format format() const override { return Format::kRagged; }
  std::int64_t max_tokens() const override { return options_.tokens; }
  bool local() const override { return false; }
  Activations staging() const override { return exchange_->staging(); }
  std::int64_t max_results() const override { return most_results(options_.tokens, options_.slots); }
  const Traffic& traffic() const override { return traffic_; }
  Status send(const Activations& x, const Routing& routing, int layer) override;
  Result<Dispatched> receive() override;
  Status send_back(Matrix<const float> results) override;
  Status collect(Matrix<float> hidden) override;

 private:
  std::int64_t most_results(std::int64_t tokens, int slots) const;

  const std::string_view name_;
  const ops::Exchange::Options options_;
  const std::unique_ptr<ops::Exchange> exchange_;
  Routing routing_;
  Traffic traffic_;
};

}  // namespace braid::moe
