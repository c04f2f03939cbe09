// SPDX-License-Identifier: Apache-2.0
// How many rows the slots of one layer computed in the last steps. Thread rules: one thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace braid::moe {

class LoadWindow {
 public:
  LoadWindow(int steps, std::size_t slots);

  // After each step: the rows of each slot since the start.
  void add(std::span<const std::int64_t> rows);
  // Forgets the loads: the slots hold other experts now.
  void clear();
  // Rows of each slot in the window.
  std::span<const std::int64_t> rows() const { return sums_; }

 private:
  std::vector<std::int32_t> ring_;  // [steps][slots]
  std::vector<std::int64_t> sums_;
  std::vector<std::int64_t> seen_;
  std::size_t next_ = 0;            // into ring_
};

}  // namespace braid::moe
