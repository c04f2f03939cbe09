// SPDX-License-Identifier: Apache-2.0
#include "moe/prepare_local.h"

#include "base/check.h"

namespace braid::moe {
namespace {

Buffer words(Stream& stream, std::int64_t count) { return stream.allocate(static_cast<std::size_t>(count) * 4); }

}  // namespace

PrepareLocal::PrepareLocal(int experts, int top_k, bool shared, std::int64_t max_tokens,
                           const ops::Kernel<ops::Arrange>* arrange, const ops::Kernel<ops::Combine>* combine, Stream& stream)
    : max_tokens_(max_tokens),
      experts_(experts),
      shared_(shared),
      arrange_(arrange),
      combine_(combine),
      stream_(stream),
      offsets_(words(stream, experts + 2)),
      row_token_(words(stream, max_tokens * (top_k + 1))),
      slots_(words(stream, max_tokens * (top_k + 1))),
      weights_(words(stream, max_tokens * (top_k + 1))) {}

Status PrepareLocal::send(const Activations& x, const Routing& routing, int) {
  CHECK(routing.tokens <= max_tokens_);
  x_ = x;
  sorted_ = {routing.tokens, experts_, routing.top_k, shared_, routing.ids, routing.weights, offsets_.as<std::int32_t>(),
             row_token_.as<std::int32_t>(), slots_.as<std::int32_t>(), weights_.as<float>(), routing.shared_weights};
  arrange_->run(sorted_, stream_);
  ++traffic_.dispatches;
  traffic_.tokens += static_cast<std::uint64_t>(routing.tokens);
  traffic_.pairs += static_cast<std::uint64_t>(routing.tokens * routing.top_k);
  return Status::success();
}

Result<Dispatched> PrepareLocal::receive() {
  const auto groups = static_cast<std::size_t>(experts_ + (shared_ ? 1 : 0));
  return Dispatched{Format::kRagged, x_, {sorted_.offsets, groups + 1}, {sorted_.row_token, static_cast<std::size_t>(sorted_.rows())}};
}

Status PrepareLocal::send_back(Matrix<const float> results) {
  results_ = results;
  return Status::success();
}

Status PrepareLocal::collect(Matrix<float> hidden) {
  combine_->run({results_, sorted_.slots, sorted_.slot_weights, sorted_.per_token(), hidden}, stream_);
  return Status::success();
}

}  // namespace braid::moe
