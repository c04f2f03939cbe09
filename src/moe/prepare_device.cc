// SPDX-License-Identifier: Apache-2.0
#include "moe/prepare_device.h"

#include <algorithm>

namespace braid::moe {

PrepareDevice::PrepareDevice(std::string_view name, const ops::Exchange::Options& options, std::unique_ptr<ops::Exchange> exchange)
    : name_(name), options_(options), exchange_(std::move(exchange)) {
  traffic_.wait_seconds.resize(static_cast<std::size_t>(options.ranks));
}

std::int64_t PrepareDevice::most_results(std::int64_t tokens, int slots) const {
  return options_.ranks * tokens * std::min(options_.top_k, slots);
}

Status PrepareDevice::send(const Activations& x, const Routing& routing, int layer) {
  routing_ = routing;
  ++traffic_.dispatches;
  traffic_.tokens += static_cast<std::uint64_t>(routing.tokens);
  exchange_->send({.x = x,
                   .ids = routing.ids,
                   .weights = routing.weights,
                   .slots = routing.slots,
                   .first_row = options_.rank + routing.first_row,
                   .layer = layer,
                   .beside = routing.beside,
                   .slot_rows = routing.slot_rows});
  return Status::success();
}

Result<Dispatched> PrepareDevice::receive() {
  const ops::Exchange::Received received = exchange_->receive();
  const int slots = routing_.placement->slots_per_rank();
  const std::int64_t most = most_results(routing_.most_tokens, slots);
  Dispatched dispatched;
  dispatched.x = received.x;
  dispatched.offsets = {received.offsets, static_cast<std::size_t>(slots) + 1};
  if (received.row_token) dispatched.row_token = {received.row_token, static_cast<std::size_t>(most)};
  dispatched.most_rows = most;
  return dispatched;
}

Status PrepareDevice::send_back(Matrix<const float> results) {
  exchange_->send_back({Activations{const_cast<float*>(results.data), DType::kF32, results.rows, results.cols, results.stride}});
  return Status::success();
}

Status PrepareDevice::collect(Matrix<float> hidden) {
  exchange_->collect({hidden.data, DType::kF32, hidden.rows, hidden.cols, hidden.stride}, false);
  return Status::success();
}

}  // namespace braid::moe
