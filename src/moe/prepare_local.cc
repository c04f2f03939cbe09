// SPDX-License-Identifier: Apache-2.0
#include "moe/prepare_local.h"

#include <algorithm>

#include "base/check.h"

namespace braid::moe {

PrepareLocal::PrepareLocal(int experts, int top_k, bool shared, std::int64_t max_tokens,
                           const ops::Kernel<ops::Combine>* combine, Stream& stream)
    : max_tokens_(max_tokens),
      per_token_(top_k + (shared ? 1 : 0)),
      combine_(combine),
      stream_(stream),
      offsets_(static_cast<std::size_t>(experts) + 1),
      cursor_(static_cast<std::size_t>(experts)),
      row_token_(static_cast<std::size_t>(max_tokens * top_k)),
      slots_(static_cast<std::size_t>(max_tokens * per_token_)),
      weights_(slots_.size()) {}

Status PrepareLocal::send(const Activations& x, const Routing& routing, int) {
  CHECK(routing.tokens <= max_tokens_);
  x_ = x;
  routing_ = routing;
  const std::int64_t pairs = routing.tokens * routing.top_k;
  std::fill(offsets_.begin(), offsets_.end(), 0);
  for (std::int64_t i = 0; i < pairs; ++i) ++offsets_[static_cast<std::size_t>(routing.ids[i]) + 1];
  for (std::size_t e = 1; e < offsets_.size(); ++e) offsets_[e] += offsets_[e - 1];
  std::copy(offsets_.begin(), offsets_.end() - 1, cursor_.begin());
  std::int32_t* slot = slots_.data();
  for (std::int64_t t = 0, i = 0; t < routing.tokens; ++t, slot += per_token_) {
    for (int j = 0; j < routing.top_k; ++j, ++i) {
      const std::int32_t row = cursor_[static_cast<std::size_t>(routing.ids[i])]++;
      row_token_[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(t);
      slot[j] = row;
    }
  }
  return Status::success();
}

Result<Dispatched> PrepareLocal::receive() {
  return Dispatched{x_, offsets_, std::span(row_token_).first(static_cast<std::size_t>(offsets_.back()))};
}

Status PrepareLocal::send_back(Matrix<const float> results, std::int64_t shared_first) {
  results_ = results;
  const int top_k = routing_.top_k;
  CHECK((shared_first >= 0) == (per_token_ > top_k));
  for (std::int64_t t = 0; t < routing_.tokens && shared_first >= 0; ++t) {
    float* weight = weights_.data() + t * per_token_;
    std::copy_n(routing_.weights + t * top_k, top_k, weight);
    weight[top_k] = 1.0f;
    slots_[static_cast<std::size_t>(t * per_token_ + top_k)] = static_cast<std::int32_t>(shared_first + t);
  }
  return Status::success();
}

Status PrepareLocal::collect(Matrix<float> hidden) {
  const float* weights = per_token_ > routing_.top_k ? weights_.data() : routing_.weights;
  combine_->run({results_, slots_.data(), weights, per_token_, hidden}, stream_);
  return Status::success();
}

}  // namespace braid::moe
