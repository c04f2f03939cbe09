// SPDX-License-Identifier: Apache-2.0
#include "metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <thread>

#include "metrics/registry.h"

namespace braid::metrics {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct TestMetrics {
  Gauge running;
  Counter tokens;
  Family<Counter> finished{{"reason"}};
  Histogram latency{{0.5, 1, 2000000}};
  Family<Histogram> sizes{{"kind"}, std::vector<double>{1.0}};

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.metric("t:running", self.running, "Requests running");
    v.metric("t:tokens", self.tokens, "Tokens\nmade");
    v.metric("t:finished", self.finished, "Finished by reason");
    v.metric("t:latency_seconds", self.latency, "Latency");
    v.metric("t:sizes", self.sizes, "Sizes");
  }
};

TEST(Metrics, PrometheusTextHasEverySampleInOrder) {
  TestMetrics metrics;
  metrics.running.set(3);
  metrics.tokens.add(7);
  metrics.finished.with({"stop"}).add();
  metrics.finished.with({"a\"b\\c\nd"}).add(2);
  metrics.latency.observe(0.5);
  metrics.latency.observe(0.7, 2);
  metrics.latency.observe(3e6);
  Registry registry;
  registry.add(metrics, {{"engine", "0"}});
  EXPECT_EQ(registry.text(),
            "# HELP t:running Requests running\n"
            "# TYPE t:running gauge\n"
            "t:running{engine=\"0\"} 3.0\n"
            "# HELP t:tokens_total Tokens\\nmade\n"
            "# TYPE t:tokens_total counter\n"
            "t:tokens_total{engine=\"0\"} 7.0\n"
            "# HELP t:finished_total Finished by reason\n"
            "# TYPE t:finished_total counter\n"
            "t:finished_total{engine=\"0\",reason=\"a\\\"b\\\\c\\nd\"} 2.0\n"
            "t:finished_total{engine=\"0\",reason=\"stop\"} 1.0\n"
            "# HELP t:latency_seconds Latency\n"
            "# TYPE t:latency_seconds histogram\n"
            "t:latency_seconds_bucket{engine=\"0\",le=\"0.5\"} 1.0\n"
            "t:latency_seconds_bucket{engine=\"0\",le=\"1.0\"} 3.0\n"
            "t:latency_seconds_bucket{engine=\"0\",le=\"2e+06\"} 3.0\n"
            "t:latency_seconds_bucket{engine=\"0\",le=\"+Inf\"} 4.0\n"
            "t:latency_seconds_sum{engine=\"0\"} 3.0000019e+06\n"
            "t:latency_seconds_count{engine=\"0\"} 4.0\n"
            "# HELP t:sizes Sizes\n"
            "# TYPE t:sizes histogram\n");
}

TEST(Metrics, OneNameWithDifferentLabelsIsPrintedTogether) {
  TestMetrics first, second;
  Registry registry;
  registry.add(first, {{"engine", "0"}});
  registry.add(second, {{"engine", "1"}});
  EXPECT_THAT(registry.text(),
              HasSubstr("# TYPE t:running gauge\nt:running{engine=\"0\"} 0.0\n"
                        "t:running{engine=\"1\"} 0.0\n# HELP"));
}

TEST(Metrics, WhatIsRemovedIsPrintedNoMore) {
  TestMetrics metrics;
  metrics.finished.with({"stop"}).add();
  metrics.finished.with({"length"}).add();
  metrics.finished.remove({"stop"});
  metrics.finished.remove({"never there"});
  Registry registry;
  registry.add(metrics, {});
  EXPECT_THAT(registry.text(), testing::Not(HasSubstr("stop")));
  EXPECT_THAT(registry.text(), HasSubstr("length"));
}

TEST(Metrics, MarkdownListsNameTypeAndLabels) {
  TestMetrics metrics;
  Registry registry;
  registry.add(metrics, {{"engine", "0"}});
  EXPECT_THAT(registry.markdown(),
              HasSubstr("| `t:finished_total` | counter | engine, reason | Finished by reason. |"));
}

TEST(Metrics, ABoundIsInclusive) {
  Histogram histogram({1, 2});
  for (double value : {0.0, 1.0, 1.5, 2.0, 2.5}) histogram.observe(value);
  EXPECT_THAT(histogram.counts(), ElementsAre(2, 2, 1));
  EXPECT_EQ(histogram.count(), 5u);
  EXPECT_DOUBLE_EQ(histogram.sum(), 7.0);
}

TEST(Metrics, InfinityAndNotANumberAreSpelledOut) {
  TestMetrics metrics;
  Registry registry;
  registry.add(metrics);
  metrics.running.set(std::numeric_limits<double>::quiet_NaN());
  EXPECT_THAT(registry.text(), HasSubstr("t:running NaN\n"));
  metrics.running.set(-std::numeric_limits<double>::infinity());
  EXPECT_THAT(registry.text(), HasSubstr("t:running -Inf\n"));
}

TEST(Metrics, UpdatesFromManyThreadsAreAllCounted) {
  constexpr int kThreads = 4;
  constexpr int kUpdates = 10'000;
  TestMetrics metrics;
  Registry registry;
  registry.add(metrics);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kUpdates; ++i) {
        metrics.tokens.add();
        metrics.running.add(i % 2 == 0 ? 1 : -1);
        metrics.latency.observe(i % 3);
        metrics.finished.with({std::to_string((i + t) % 5)}).add();
        if (i % 1000 == 0) (void)registry.text();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(metrics.tokens.value(), kThreads * kUpdates);
  EXPECT_EQ(metrics.running.value(), 0);
  EXPECT_EQ(metrics.latency.count(), static_cast<std::uint64_t>(kThreads * kUpdates));
  double finished = 0;
  metrics.finished.for_each([&](const auto&, const Counter& c) { finished += c.value(); });
  EXPECT_EQ(finished, kThreads * kUpdates);
}

TEST(Metrics, OneTwoFiveBucketsStopAtTheLimit) {
  EXPECT_THAT(one_two_five_buckets(20), ElementsAre(1, 2, 5, 10, 20));
  EXPECT_THAT(one_two_five_buckets(4), ElementsAre(1, 2));
}

}  // namespace
}  // namespace braid::metrics
