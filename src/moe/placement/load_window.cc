// SPDX-License-Identifier: Apache-2.0
#include "moe/placement/load_window.h"

#include <algorithm>

#include "base/check.h"

namespace braid::moe {

LoadWindow::LoadWindow(int steps, std::size_t slots)
    : ring_(static_cast<std::size_t>(steps) * slots), sums_(slots), seen_(slots) {}

void LoadWindow::add(std::span<const std::int64_t> rows) {
  CHECK(rows.size() == sums_.size());
  for (std::size_t s = 0; s < rows.size(); ++s) {
    std::int32_t& oldest = ring_[next_ + s];
    const auto newest = static_cast<std::int32_t>(rows[s] - seen_[s]);
    sums_[s] += newest - oldest;
    oldest = newest;
    seen_[s] = rows[s];
  }
  next_ += rows.size();
  if (next_ == ring_.size()) next_ = 0;
}

void LoadWindow::clear() {
  std::fill(ring_.begin(), ring_.end(), 0);
  std::fill(sums_.begin(), sums_.end(), 0);
}

}  // namespace braid::moe
