// SPDX-License-Identifier: Apache-2.0
// Which choices of a request have not ended, for those who stand between engine and subscriber.
#pragma once

#include <algorithm>
#include <vector>

namespace braid::engine {

class Unfinished {
 public:
  explicit Unfinished(int choices = 0) : open_(static_cast<std::size_t>(choices), true) {}

  // A choice (-1: every one) has ended or was cancelled; again is fine. True when none is left.
  bool end(int index) {
    if (index < 0) std::fill(open_.begin(), open_.end(), false);
    else if (static_cast<std::size_t>(index) < open_.size()) open_[static_cast<std::size_t>(index)] = false;
    return none();
  }
  bool none() const { return std::find(open_.begin(), open_.end(), true) == open_.end(); }
  const std::vector<bool>& open() const { return open_; }

 private:
  std::vector<bool> open_;
};

}  // namespace braid::engine
