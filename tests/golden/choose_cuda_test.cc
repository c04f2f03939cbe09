// SPDX-License-Identifier: Apache-2.0
// Tokens that a GPU chooses are those that the host chooses from the same logits with the same draws.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "sample/choose.h"
#include "sample/random.h"
#include "tensor/staging.h"
#include "tests/golden/test_device.h"

namespace braid {
namespace {

using By = ops::ChooseTokens::By;
using Draw = ops::ChooseTokens::Draw;

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

std::int32_t chosen_by_host(std::span<const float> row, const Draw& d, sample::Scratch& scratch) {
  row = row.first(static_cast<std::size_t>(d.columns));
  if (d.by == By::kLargest) return sample::argmax(row);
  return sample::choose(row, {d.temperature, d.min_p, d.top_k, d.top_p}, d.draw, scratch);
}

class ChooseOnDevice : public testing::Test {
 protected:
  void compare(const std::vector<float>& logits, std::int64_t vocabulary, const std::vector<Draw>& draws) {
    Stream& stream = *device_.stream;
    const auto rows = static_cast<std::int64_t>(draws.size());
    const Buffer on_device = upload(stream, logits), how = upload(stream, draws.data(), draws.size() * sizeof(Draw));
    const Buffer tokens = upload(stream, std::vector<std::int32_t>(draws.size(), -7));
    device_.kernels->choose_tokens.front().run({Matrix<float>(on_device.as<float>(), rows, vocabulary), how.as<Draw>(), tokens.as<std::int32_t>()}, stream);
    HostCopy copy;
    const std::int32_t* got = copy.read(stream, tokens.as<std::int32_t>(), draws.size()).value();
    sample::Scratch scratch;
    for (std::size_t r = 0; r < draws.size(); ++r) {
      const auto row = std::span(logits).subspan(r * static_cast<std::size_t>(vocabulary), static_cast<std::size_t>(vocabulary));
      const std::int32_t want = draws[r].by == By::kHost ? -7 : chosen_by_host(row, draws[r], scratch);
      EXPECT_EQ(got[r], want) << "row " << r << " of " << vocabulary << ", temperature " << draws[r].temperature << ", min_p " << draws[r].min_p
                              << ", top_k " << draws[r].top_k << ", top_p " << draws[r].top_p << ", draw " << draws[r].draw;
    }
  }

  TestDevice device_ = open_test_device();
  std::mt19937 random_{11};
};

TEST_F(ChooseOnDevice, GivesTheHostsTokens) {
  constexpr float kTemperatures[] = {0.01f, 0.7f, 1.0f, 1.9f}, kTopP[] = {1.0f, 0.9f, 0.5f, 0.05f, 0.999f}, kMinP[] = {0.0f, 0.0f, 0.05f};
  constexpr int kTopK[] = {0, 1, 40, 1000, 1 << 20};
  for (const std::int64_t vocabulary : {1, 7, 64, 320, 4099, 152064}) {
    const std::size_t rows = vocabulary > 10000 ? 150 : 300;
    std::normal_distribution<float> values(0.0f, 3.0f);
    std::vector<float> logits(rows * static_cast<std::size_t>(vocabulary));
    for (float& x : logits) x = values(random_);
    std::vector<Draw> draws;
    for (std::size_t r = 0; r < rows; ++r) {
      Draw d{By::kChance, static_cast<std::int32_t>(vocabulary), kTemperatures[r % 4], kMinP[r / 20 % 3], kTopK[r / 4 % 5], kTopP[r % 5], sample::uniform(r, 3)};
      if (r % 11 == 0) d.by = By::kLargest;
      if (r % 13 == 1) d.by = By::kHost;
      if (r % 7 == 2) d.columns = std::max(1, d.columns - 3);
      draws.push_back(d);
    }
    compare(logits, vocabulary, draws);
  }
}

// Few different values, so that bounds of rank and mass fall among equals.
TEST_F(ChooseOnDevice, GivesTheHostsTokensAmongEquals) {
  for (const std::int64_t vocabulary : {9, 130, 5000}) {
    constexpr std::size_t kRows = 400;
    std::vector<float> logits(kRows * static_cast<std::size_t>(vocabulary));
    for (float& x : logits) x = static_cast<float>(random_() % 4);
    std::vector<Draw> draws;
    for (std::size_t r = 0; r < kRows; ++r) {
      draws.push_back({By::kChance, static_cast<std::int32_t>(vocabulary), 1.0f, 0.0f, static_cast<std::int32_t>(r % 6), 0.1f * static_cast<float>(r % 10 + 1), sample::uniform(r, 9)});
    }
    compare(logits, vocabulary, draws);
  }
}

TEST_F(ChooseOnDevice, KnowsWhenNothingIsPossibleAndSkipsWhatIsNoNumber) {
  constexpr std::int64_t kVocabulary = 2500;
  std::vector<float> logits;
  std::vector<Draw> draws;
  const auto add = [&](float all, std::int32_t at, float value) {
    for (const By by : {By::kLargest, By::kChance}) {
      logits.insert(logits.end(), kVocabulary, all);
      if (at >= 0) logits[logits.size() - kVocabulary + static_cast<std::size_t>(at)] = value;
      draws.push_back({.by = by, .columns = kVocabulary, .draw = 0.4});
    }
  };
  add(-kInfinity, -1, 0);
  add(kNan, -1, 0);
  add(-kInfinity, 2047, -5);
  add(kNan, 1, 2);
  add(0, 77, kInfinity);
  add(0, 78, kNan);
  compare(logits, kVocabulary, draws);
}

}  // namespace
}  // namespace braid
