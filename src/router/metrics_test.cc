// SPDX-License-Identifier: Apache-2.0
#include "router/metrics.h"

#include <gtest/gtest.h>

#include "router/router.h"

namespace braid::router {
namespace {

using std::chrono::milliseconds;

Endpoint endpoint(const std::string& name, double waiting, double running, double kv_usage) {
  Endpoint e;
  e.id = {name, "10.0.0.1", 8000 + static_cast<int>(waiting), 0};
  e.state.seen = TimePoint{};
  e.state.waiting = waiting;
  e.state.running = running;
  e.state.kv_usage = kv_usage;
  return e;
}

class RouterMetrics : public ::testing::Test {
 protected:
  void start(const std::string& more = {}) {
    const auto config = parse_picker_config("apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins: [{type: queue-scorer}]\n" + more, "epp.yaml");
    ASSERT_TRUE(config.ok()) << config.error().message;
    auto made = Router::make(*config, {.clock = &clock, .metrics = &metrics});
    ASSERT_TRUE(made.ok()) << made.error().message;
    router = std::move(*made);
    clock.advance(milliseconds(1));
  }

  std::shared_ptr<RoutedRequest> stream() {
    auto request = read_request({.method = "POST", .path = "/v1/completions", .headers = {}, .body = R"({"model":"m","prompt":"p","stream":true})"}, clock.now());
    EXPECT_TRUE(request.ok());
    return std::make_shared<RoutedRequest>(std::move(*request));
  }

  ManualClock clock;
  Metrics metrics;
  std::unique_ptr<Router> router;
  const std::vector<Endpoint> pool{endpoint("a", 0, 4, 0.25), endpoint("b", 6, 4, 0.75)};
};

TEST_F(RouterMetrics, TokensOfAStreamAreTimedFromPieceToPiece) {
  start();
  const auto request = stream();
  clock.advance(milliseconds(5));
  const auto decision = router->submit(request, pool).decision;
  ASSERT_TRUE(decision && decision->ok());
  const FlightId flight = router->sent(*request, *decision);
  clock.advance(milliseconds(95));
  router->first_chunk(flight);
  router->chunk(flight, 1);
  for (const int tokens : {1, 3}) {
    clock.advance(milliseconds(60));
    router->chunk(flight, tokens);
  }
  clock.advance(milliseconds(30));
  router->done(flight, {.status = 200, .prompt_tokens = 9, .output_tokens = 5, .cached_tokens = 0});
  EXPECT_DOUBLE_EQ(metrics.request_processing.with({"m"}).sum(), 0.005);
  EXPECT_DOUBLE_EQ(metrics.time_to_first_token.with({"m", "true"}).sum(), 0.1);
  EXPECT_EQ(metrics.inter_token_latency.with({"m"}).count(), 4u);
  EXPECT_DOUBLE_EQ(metrics.inter_token_latency.with({"m"}).sum(), 0.12);
  EXPECT_DOUBLE_EQ(metrics.time_per_output_token.with({"m"}).sum(), 0.03);
  EXPECT_DOUBLE_EQ(metrics.normalized_time_per_output_token.with({"m"}).sum(), 0.05);
}

TEST_F(RouterMetrics, ThePoolIsToldByMeanAndDeviation) {
  start();
  router->observe(pool);
  EXPECT_DOUBLE_EQ(metrics.average_queue.value(), 3);
  EXPECT_DOUBLE_EQ(metrics.deviation_queue.value(), 3);
  EXPECT_DOUBLE_EQ(metrics.deviation_running.value(), 0);
  EXPECT_DOUBLE_EQ(metrics.average_kv_usage.value(), 0.5);
  EXPECT_DOUBLE_EQ(metrics.deviation_kv_usage.value(), 0.25);
  router->observe({});
  EXPECT_DOUBLE_EQ(metrics.average_queue.value(), 0);
  EXPECT_DOUBLE_EQ(metrics.deviation_queue.value(), 0);
}

TEST_F(RouterMetrics, WhatWaitsIsToldAsAShareOfItsBand) {
  start("featureGates: [flowControl]\nflowControl: {defaultPriorityBand: {maxRequests: 4}}\n");
  const std::vector<Endpoint> full{endpoint("a", 100, 100, 1)};
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(router->submit(stream(), full).decision);
  router->observe(full);
  EXPECT_DOUBLE_EQ(metrics.capacity_requests.with({"0"}).value(), 0.75);
  EXPECT_GT(metrics.capacity_bytes.with({"0"}).value(), 0);
  EXPECT_EQ(metrics.enqueue_duration.count(), 3u);
  EXPECT_EQ(metrics.dispatch_cycle.count(), 3u);
}

}  // namespace
}  // namespace braid::router
