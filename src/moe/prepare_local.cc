// SPDX-License-Identifier: Apache-2.0
#include "moe/prepare_local.h"

#include <algorithm>

#include "base/check.h"

namespace braid::moe {

PrepareLocal::PrepareLocal(int experts, int top_k, std::int64_t max_tokens)
    : offsets_(static_cast<std::size_t>(experts) + 1),
      cursor_(static_cast<std::size_t>(experts)),
      row_token_(static_cast<std::size_t>(max_tokens * top_k)),
      slots_(static_cast<std::size_t>(max_tokens * top_k)) {}

void PrepareLocal::send(const Activations& x, const Routing& routing) {
  x_ = x;
  pairs_ = static_cast<std::size_t>(routing.tokens * routing.top_k);
  CHECK(pairs_ <= slots_.size());
  std::fill(offsets_.begin(), offsets_.end(), 0);
  for (std::size_t i = 0; i < pairs_; ++i) ++offsets_[static_cast<std::size_t>(routing.ids[i]) + 1];
  for (std::size_t e = 1; e < offsets_.size(); ++e) offsets_[e] += offsets_[e - 1];
  std::copy(offsets_.begin(), offsets_.end() - 1, cursor_.begin());
  for (std::size_t i = 0; i < pairs_; ++i) {
    const std::int32_t row = cursor_[static_cast<std::size_t>(routing.ids[i])]++;
    row_token_[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(i) / routing.top_k;
    slots_[i] = row;
  }
}

Dispatched PrepareLocal::receive() {
  return {x_, offsets_, std::span(row_token_).first(pairs_)};
}

std::span<const std::int32_t> PrepareLocal::slots() const { return std::span(slots_).first(pairs_); }

}  // namespace braid::moe
