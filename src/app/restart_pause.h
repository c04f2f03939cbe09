// SPDX-License-Identifier: Apache-2.0
// How long to wait before a process that ended is started again: longer each time, and shortly again
// once it has lived for a while.
#pragma once

#include <algorithm>

#include "base/clock.h"

namespace braid::app {

class RestartPause {
 public:
  Duration after_life_of(Duration lived) {
    pause_ = lived > kStable ? kFirst : std::min(2 * pause_, kLongest);
    return pause_;
  }

 private:
  static constexpr Duration kFirst = std::chrono::milliseconds(200);
  static constexpr Duration kLongest = std::chrono::seconds(30);
  static constexpr Duration kStable = std::chrono::seconds(60);

  Duration pause_ = kFirst;
};

}  // namespace braid::app
