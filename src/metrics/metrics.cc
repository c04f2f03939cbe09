// SPDX-License-Identifier: Apache-2.0
#include "metrics/metrics.h"

#include <algorithm>

namespace braid::metrics {

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {
  CHECK(std::is_sorted(bounds_.begin(), bounds_.end()), "bucket bounds must ascend");
}

void Histogram::observe(double value, std::uint64_t count) {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[static_cast<std::size_t>(bucket)].fetch_add(count, std::memory_order_relaxed);
  sum_.fetch_add(value * static_cast<double>(count), std::memory_order_relaxed);
}

std::vector<std::uint64_t> Histogram::counts() const {
  std::vector<std::uint64_t> counts;
  for (const auto& count : counts_) counts.push_back(count.load(std::memory_order_relaxed));
  return counts;
}

std::uint64_t Histogram::count() const {
  std::uint64_t total = 0;
  for (const auto& count : counts_) total += count.load(std::memory_order_relaxed);
  return total;
}

std::vector<double> first_token_buckets() {
  return {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
          1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
}

std::vector<double> token_latency_buckets() {
  return {.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80};
}

std::vector<double> request_latency_buckets() {
  return {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,  15,   20,
          30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
}

std::vector<double> one_two_five_buckets(std::int64_t up_to) {
  std::vector<double> bounds;
  for (std::int64_t decade = 1; decade <= up_to && decade < 1'000'000'000'000; decade *= 10) {
    for (std::int64_t step : {1, 2, 5}) {
      if (decade * step <= up_to) bounds.push_back(static_cast<double>(decade * step));
    }
  }
  return bounds;
}

std::vector<double> iteration_token_buckets() {
  return {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
}

}  // namespace braid::metrics
