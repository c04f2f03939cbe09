// SPDX-License-Identifier: Apache-2.0
#include "sample/choose.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "sample/logprobs.h"
#include "sample/random.h"

namespace braid::sample {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> random_row(std::size_t size, unsigned seed, float spread = 2.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> row(size);
  for (float& x : row) x = normal(random);
  return row;
}

// The definition, in double precision and without any shortcut.
std::vector<double> distribution(const std::vector<float>& logits, const Restriction& r) {
  const double max = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p;
  for (const float x : logits) p.push_back(std::exp((x - max) / r.temperature));
  for (double& x : p) x = x >= r.min_p ? x : 0;
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return p[a] > p[b]; });
  if (r.top_k > 0 && static_cast<std::size_t>(r.top_k) < p.size()) {
    const double kth = p[order[static_cast<std::size_t>(r.top_k) - 1]];
    for (double& x : p) x = x >= kth ? x : 0;
  }
  const double total = std::accumulate(p.begin(), p.end(), 0.0);
  double before = 0;
  for (const std::size_t i : order) {
    const double mass = p[i];
    if (before >= r.top_p * total) p[i] = 0;
    before += mass;
  }
  const double kept = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& x : p) x /= kept;
  return p;
}

// Pearson's statistic over cells of at least 5 expected draws, in standard deviations of it.
double chi_square_excess(const std::vector<double>& expected, const std::vector<int>& seen, int n) {
  double statistic = 0, rest_expected = 0, rest_seen = 0;
  int cells = 0;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    const double want = expected[i] * n;
    if (want < 5) {
      rest_expected += want;
      rest_seen += seen[i];
      continue;
    }
    statistic += (seen[i] - want) * (seen[i] - want) / want;
    ++cells;
  }
  if (rest_expected >= 5) {
    statistic += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected;
    ++cells;
  }
  const double freedom = std::max(1, cells - 1);
  return (statistic - freedom) / std::sqrt(2 * freedom);
}

TEST(Choose, draws_have_the_distribution_that_its_parameters_define) {
  const Restriction cases[] = {{},
                               {.temperature = 0.5f},
                               {.temperature = 1.7f},
                               {.top_k = 1},
                               {.top_k = 5},
                               {.top_k = 40},
                               {.top_p = 0.3f},
                               {.top_p = 0.9f},
                               {.top_p = 0.999f},
                               {.min_p = 0.05f},
                               {.temperature = 0.8f, .top_k = 20, .top_p = 0.95f},
                               {.temperature = 1.3f, .min_p = 0.02f, .top_p = 0.8f}};
  Scratch scratch;
  for (const std::size_t size : {7u, 64u, 300u, 4096u}) {
    const auto logits = random_row(size, 11 + static_cast<unsigned>(size));
    for (const Restriction& r : cases) {
      SCOPED_TRACE(testing::Message() << size << " tokens, temperature " << r.temperature
                                      << " min_p " << r.min_p << " top_k " << r.top_k << " top_p "
                                      << r.top_p);
      const auto expected = distribution(logits, r);
      std::vector<int> seen(size);
      const int draws = 5000;
      for (int i = 0; i < draws; ++i) {
        const auto token = choose(logits, r, uniform(99, static_cast<std::uint64_t>(i)), scratch);
        ASSERT_GE(token, 0);
        ASSERT_GT(expected[static_cast<std::size_t>(token)], 0) << "token " << token;
        ++seen[static_cast<std::size_t>(token)];
      }
      EXPECT_LT(chi_square_excess(expected, seen, draws), 4.0);
    }
  }
}

TEST(Choose, never_takes_what_is_forbidden) {
  Scratch scratch;
  std::vector<float> row(100, -kInfinity);
  row[3] = -50;
  row[77] = kNan;
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ(choose(row, {}, uniform(1, static_cast<std::uint64_t>(i)), scratch), 3);
  }
  row[3] = -kInfinity;
  EXPECT_EQ(choose(row, {}, 0.5, scratch), -1);
  EXPECT_EQ(choose(row, {.top_k = 3}, 0.5, scratch), -1);
}

TEST(Choose, keeps_tokens_that_tie_with_the_last_of_top_k) {
  Scratch scratch;
  const std::vector<float> row = {1, 3, 2, 2, 2, 0};
  std::vector<int> seen(row.size());
  for (int i = 0; i < 500; ++i) {
    ++seen[static_cast<std::size_t>(
        choose(row, {.top_k = 2}, uniform(5, static_cast<std::uint64_t>(i)), scratch))];
  }
  EXPECT_EQ(seen[0], 0);
  EXPECT_EQ(seen[5], 0);
  for (int token = 1; token <= 4; ++token) EXPECT_GT(seen[static_cast<std::size_t>(token)], 0);
}

TEST(Rows, argmax_is_the_first_of_the_largest) {
  EXPECT_EQ(argmax(std::vector<float>{1, 5, 5, 2}), 1);
  EXPECT_EQ(argmax(std::vector<float>{kNan, -kInfinity, -3}), 2);
  EXPECT_EQ(argmax(std::vector<float>{kNan, -kInfinity}), -1);
  for (const std::size_t size : {1u, 15u, 16u, 17u, 33u, 4096u}) {
    const auto row = random_row(size, static_cast<unsigned>(size));
    EXPECT_EQ(argmax(row), std::max_element(row.begin(), row.end()) - row.begin());
  }
}

TEST(Rows, exponentials_are_good_to_float_precision) {
  std::vector<float> row;
  for (float x = -100; x <= 0; x += 0.01f) row.push_back(x);
  std::vector<float> out(row.size());
  exp_row(row, 0, 1, out);
  for (std::size_t i = 0; i < row.size(); ++i) {
    const double want = row[i] > -87 ? std::exp(static_cast<double>(row[i])) : 0;
    EXPECT_NEAR(out[i], want, 3e-7 * want) << row[i];
  }
}

TEST(Rows, top_values_are_those_of_a_sort) {
  std::vector<float> scratch;
  std::vector<Candidate> top;
  for (const std::size_t size : {1u, 20u, 100u, 1000u}) {
    auto row = random_row(size, 3);
    for (std::size_t i = 0; i < size; i += 7) row[i] = std::round(row[i]);  // ties
    for (const std::size_t count : {std::size_t{1}, std::size_t{5}, std::size_t{64}, size}) {
      std::vector<float> sorted = row;
      std::sort(sorted.begin(), sorted.end(), std::greater<>());
      top_values(row, count, top, scratch);
      ASSERT_GE(top.size(), std::min(count, size));
      for (std::size_t i = 0; i < top.size(); ++i) {
        EXPECT_EQ(top[i].value, sorted[i]);
        EXPECT_EQ(row[static_cast<std::size_t>(top[i].token)], top[i].value);
      }
    }
  }
}

TEST(Logprobs, are_the_log_softmax_of_the_row_with_ranks) {
  Scratch scratch;
  const auto row = random_row(500, 8);
  double sum = 0;
  for (const float x : row) sum += std::exp(static_cast<double>(x));
  const auto all = logprobs_of(row, 42, -1, scratch);
  ASSERT_EQ(all.size(), 501u);
  EXPECT_EQ(all[0].token, 42);
  EXPECT_NEAR(all[0].logprob, row[42] - std::log(sum), 1e-5);
  EXPECT_EQ(all[0].rank, std::ranges::count_if(row, [&](float x) { return x >= row[42]; }));
  for (std::size_t i = 1; i < all.size(); ++i) {
    EXPECT_EQ(all[i].rank, static_cast<int>(i));
    EXPECT_NEAR(
        all[i].logprob, row[static_cast<std::size_t>(all[i].token)] - std::log(sum), 1e-5);
    if (i > 1) {
      EXPECT_LE(all[i].logprob, all[i - 1].logprob);
    }
  }
  EXPECT_EQ(logprobs_of(row, 42, 0, scratch).size(), 1u);
  EXPECT_EQ(logprobs_of(row, 42, 3, scratch).size(), 4u);
}

TEST(Random, philox_gives_the_published_numbers) {
  // Known answers of Philox4x32-10 for an all-zero counter and key.
  const auto words = philox(0, 0);
  EXPECT_THAT(words, testing::ElementsAre(0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u));
}

}  // namespace
}  // namespace braid::sample
