// SPDX-License-Identifier: Apache-2.0
// The plot of `braid bench dispatch`: time by tokens on logarithmic axes, a line for each backend
// and a dashed one for its floor.
#pragma once

#include <string>
#include <vector>

namespace braid::app {

// What one backend did with one number of tokens a rank. Seconds are medians of the slowest rank.
struct DispatchCase {
  std::string backend;
  int tokens = 0;
  double dispatch = 0;  // send and receive
  double combine = 0;   // send_back and collect
  double dispatched_bytes = 0, returned_bytes = 0;  // to other ranks, mean of the ranks
  double copy_out = 0, copy_back = 0;  // every rank copies as many bytes once

  double seconds() const { return dispatch + combine; }
  double copy() const { return copy_out + copy_back; }
  double bytes() const { return dispatched_bytes + returned_bytes; }
};

std::string dispatch_plot(const std::vector<DispatchCase>& cases, const std::string& title);

}  // namespace braid::app
