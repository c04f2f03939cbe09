// SPDX-License-Identifier: Apache-2.0
#include "router/metrics.h"

#include <gtest/gtest.h>

#include "metrics/registry.h"
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

const std::vector<std::string> kLabels{"m", "m", "default-flow", "0"};

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
  EXPECT_DOUBLE_EQ(metrics.request_processing.sum(), 0.005);
  EXPECT_DOUBLE_EQ(metrics.time_to_first_token.with({"m", "m", "default-flow", "0", "true"}).sum(), 0.1);
  EXPECT_EQ(metrics.inter_token_latency.with(kLabels).count(), 4u);
  EXPECT_DOUBLE_EQ(metrics.inter_token_latency.with(kLabels).sum(), 0.12);
  EXPECT_DOUBLE_EQ(metrics.time_per_output_token.with(kLabels).sum(), 0.03);
  EXPECT_DOUBLE_EQ(metrics.normalized_time_per_output_token.with(kLabels).sum(), 0.05);
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

TEST_F(RouterMetrics, TimeOfEachPluginIsCountedUnderItsTypeAndName) {
  start();
  ASSERT_TRUE(router->submit(stream(), pool).decision->ok());
  EXPECT_EQ(metrics.plugin_duration.with({"Scorer", "queue-scorer", "queue-scorer"}).count(), 1u);
  EXPECT_EQ(metrics.plugin_duration.with({"Picker", "max-score-picker", "max-score-picker"}).count(), 1u);
}

TEST_F(RouterMetrics, AnswersAreCountedByBytesAndTheTimeSpentOnThem) {
  start();
  const auto request = stream();
  const auto decision = router->submit(request, pool).decision;
  router->done(router->sent(*request, *decision), {.status = 200, .bytes = 4096, .processing = milliseconds(3)});
  EXPECT_DOUBLE_EQ(metrics.response_size.with(kLabels).sum(), 4096);
  EXPECT_DOUBLE_EQ(metrics.response_processing.sum(), 0.003);
}

TEST_F(RouterMetrics, WhatIsRefusedIsAnError) {
  start();
  EXPECT_FALSE(router->submit(stream(), {}).decision->ok());
  std::vector<std::string> labels = kLabels;
  labels.push_back("503");
  EXPECT_DOUBLE_EQ(metrics.request_errors.with(labels).value(), 1);
}

TEST_F(RouterMetrics, EndpointsThatReportTooSeldomAreStale) {
  start();
  const auto stale = [&] {
    router->observe(pool);
    return metrics.stale_endpoints.with({"utilization-detector"}).value();
  };
  EXPECT_DOUBLE_EQ(stale(), 0);
  clock.advance(milliseconds(200));
  EXPECT_DOUBLE_EQ(stale(), 2);
  EXPECT_DOUBLE_EQ(metrics.pool_saturation.with({"effective"}).value(), metrics.pool_saturation.with({"decode"}).value());
}

TEST_F(RouterMetrics, ClientsCannotMakeLabelsEndless) {
  start();
  for (int i = 0; i < 1010; ++i) {
    auto request = read_request({.method = "POST", .path = "/v1/completions", .headers = {{"x-llm-d-inference-fairness-id", "f" + std::to_string(i)}},
                                 .body = R"({"model":"m)" + std::to_string(i) + R"(","prompt":"p"})"}, clock.now());
    ASSERT_TRUE(request.ok());
    router->submit(std::make_shared<RoutedRequest>(std::move(*request)), pool);
  }
  EXPECT_DOUBLE_EQ(metrics.requests.with({"other", "other", "other", "0"}).value(), 10);
}

// Names as they stand on the page, and labels that dashboards made for llm-d select and sum by.
TEST(MetricNames, AreThoseOfLlmD) {
  const std::vector<std::string> request{"model_name", "target_model_name", "fairness_id", "priority"};
  const auto request_and = [&](std::string more) {
    std::vector<std::string> labels = request;
    labels.push_back(std::move(more));
    return labels;
  };
  const std::vector<std::pair<std::string, std::vector<std::string>>> table{
      {"request", request}, {"request_error", request_and("error_code")}, {"request_duration_seconds", request},
      {"request_size_bytes", request}, {"response_size_bytes", request}, {"request_input_tokens", request},
      {"request_output_tokens", request}, {"request_cached_tokens", request}, {"request_running", request},
      {"request_ntpot_seconds", request}, {"request_ttft_seconds", request_and("streaming")},
      {"request_streaming_tpot_seconds", request}, {"request_streaming_itl_seconds", request},
      {"average_kv_cache_utilization", {}}, {"average_queue_size", {}}, {"average_running_requests", {}},
      {"std_dev_kv_cache_utilization", {}}, {"std_dev_queue_size", {}}, {"std_dev_running_requests", {}}, {"ready_endpoints", {}},
      {"per_endpoint_queue_size", {"endpoint_name"}}, {"scheduler_e2e_duration_seconds", {}},
      {"scheduler_attempts", {"status", "target_model_name", "endpoint_name", "namespace", "port"}},
      {"request_processing_duration_seconds", {}}, {"response_processing_duration_seconds", {}},
      {"plugin_duration_seconds", {"extension_point", "plugin_type", "plugin_name"}},
      {"model_rewrite_decisions", {"model_rewrite_name", "model_name", "target_model"}},
      {"prefix_indexer_size", {}}, {"prefix_indexer_hit_ratio", {}}, {"prefix_indexer_hit_bytes", {}},
      {"disagg_decision", {"decision_type"}}, {"flow_control_request_queue_duration_seconds", {"outcome"}},
      {"flow_control_dispatch_cycle_duration_seconds", {}}, {"flow_control_request_enqueue_duration_seconds", {}},
      {"flow_control_queue_size", {"fairness_id", "priority"}}, {"flow_control_queue_bytes", {"fairness_id", "priority"}},
      {"flow_control_pool_saturation", {"stage"}}, {"flow_control_stale_endpoints", {"detector"}},
      {"flow_control_capacity_utilization_requests", {"priority"}}, {"flow_control_capacity_utilization_bytes", {"priority"}}};
  const Metrics metrics;
  metrics::Registry registry;
  registry.add(metrics);
  std::map<std::string, std::vector<std::string>> ours;
  for (const metrics::Entry& entry : registry.entries()) {
    ours[entry.name] = std::visit([](const auto* metric) {
      if constexpr (requires { metric->labels(); }) return metric->labels();
      return std::vector<std::string>();
    }, entry.metric);
  }
  for (const auto& [name, labels] : table) {
    const auto found = ours.find("llm_d_epp_" + name);
    ASSERT_NE(found, ours.end()) << name;
    EXPECT_EQ(found->second, labels) << name;
  }
}

}  // namespace
}  // namespace braid::router
