// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <atomic>

#include "moe/placement/rebalance.h"

namespace braid::testing {

// What a rebalancer has moved; that it stopped is a failure of the test. Any thread may read.
struct MoveCounter : moe::RebalanceObserver {
  void rearranged(int count, std::uint64_t bytes, Duration) override {
    layers += count;
    sent += bytes;
  }
  void stopped(const Error& error) override { ADD_FAILURE() << error.message; }
  std::atomic<int> layers{0};
  std::atomic<std::uint64_t> sent{0};
};

}  // namespace braid::testing
