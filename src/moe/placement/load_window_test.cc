// SPDX-License-Identifier: Apache-2.0
#include "moe/placement/load_window.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace braid::moe {
namespace {

using testing::ElementsAre;

TEST(LoadWindow, SumsTheLastSteps) {
  std::mt19937 random(3);
  LoadWindow window(7, 3);
  std::vector<std::vector<std::int64_t>> steps;
  std::vector<std::int64_t> total(3, 0);
  for (int step = 0; step < 40; ++step) {
    if (step == 25) {
      window.clear();
      steps.clear();
    }
    steps.emplace_back();
    for (std::int64_t& t : total) {
      steps.back().push_back(random() % 100);
      t += steps.back().back();
    }
    window.add(total);
    std::vector<std::int64_t> expected(3, 0);
    for (std::size_t i = steps.size() > 7 ? steps.size() - 7 : 0; i < steps.size(); ++i) {
      for (std::size_t s = 0; s < 3; ++s) expected[s] += steps[i][s];
    }
    EXPECT_THAT(window.rows(), testing::ElementsAreArray(expected)) << "step " << step;
  }
}

TEST(LoadWindow, WhatWasComputedBeforeItWasClearedDoesNotCount) {
  LoadWindow window(4, 2);
  window.add(std::vector<std::int64_t>{10, 20});
  window.clear();
  window.add(std::vector<std::int64_t>{11, 20});
  EXPECT_THAT(window.rows(), ElementsAre(1, 0));
}

}  // namespace
}  // namespace braid::moe
