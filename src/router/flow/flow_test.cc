// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <random>

#include "router/catalog.h"
#include "router/flow/flow_control.h"

namespace braid::router {
namespace {

std::unique_ptr<Plugin> make(std::string_view type, const std::string& parameters = "{}") {
  ConfigValue value;
  value.json = parameters;
  value.source = std::make_shared<ConfigSource>();
  auto plugin = make_plugin_of(type, value);
  EXPECT_TRUE(plugin.ok()) << type;
  Plugins none;
  EXPECT_TRUE((*plugin)->connect(none).ok()) << type;
  return std::move(plugin).value();
}

Endpoint endpoint(std::optional<double> waiting, std::optional<double> kv, const char* role = nullptr) {
  Endpoint made;
  made.state.waiting = waiting;
  made.state.kv_usage = kv;
  if (role != nullptr) made.labels[std::string(kRoleLabel)] = role;
  return made;
}

StageSaturation saturation(const Plugin& detector, const std::vector<Endpoint>& endpoints) {
  const std::vector<Slot> slots(endpoints.size(), 0);
  return saturation_of(dynamic_cast<const SaturationDetector&>(detector), endpoints, slots, {});
}

TEST(UtilizationDetector, is_the_mean_of_the_larger_share_of_queue_and_cache) {
  const auto detector = make("utilization-detector");
  EXPECT_DOUBLE_EQ(saturation(*detector, {endpoint(5, 0)}).decode, 1);
  EXPECT_DOUBLE_EQ(saturation(*detector, {endpoint(1, 0.4), endpoint(10, 0.4)}).decode, (0.5 + 2) / 2) << "not cut to 1";
  EXPECT_DOUBLE_EQ(saturation(*detector, {endpoint(5, 0), endpoint({}, {})}).decode, 1) << "the unknown does not count";
  EXPECT_DOUBLE_EQ(saturation(*detector, {endpoint({}, {})}).decode, 0) << "unknown is not full";
  EXPECT_DOUBLE_EQ(saturation(*detector, {}).effective(), 1);
}

TEST(Saturation, of_a_divided_pool_is_that_of_its_fuller_stage) {
  const auto detector = make("utilization-detector", R"({"queueDepthThreshold": 10})");
  const StageSaturation stages = saturation(*detector, {endpoint(8, 0, "prefill"), endpoint(2, 0, "decode")});
  EXPECT_DOUBLE_EQ(stages.prefill, 0.8);
  EXPECT_DOUBLE_EQ(stages.decode, 0.2);
  EXPECT_DOUBLE_EQ(stages.effective(), 0.8);
}

TEST(UsageLimits, follow_their_formulas) {
  struct Case {
    const char* type;
    const char* parameters;
    UsageLimit::Band band;
    double saturation;
    double ceiling;
  };
  const Case cases[] = {
      {"static-usage-limit-policy", "{}", {0, 1, 0, 0, 0}, 0.5, 1},
      {"static-usage-limit-policy", R"({"threshold": 0.7})", {1, 2, 0, 5, 0}, 0.5, 0.7},
      {"priority-holdback-policy", R"({"minCeiling": 0.4})", {0, 3, 10, 10, 0}, 0, 1},
      {"priority-holdback-policy", R"({"minCeiling": 0.4})", {1, 3, 9, 10, 0}, 0, 0.7},
      {"priority-holdback-policy", R"({"minCeiling": 0.4})", {2, 3, 0, 10, 0}, 0, 0.4},
      {"priority-holdback-policy", R"({"minCeiling": 0.4, "domain": "value"})", {1, 3, 9, 10, 0}, 0, 0.94},
      {"priority-holdback-policy", R"({"minCeiling": 0.4, "maxCeiling": 0.8})", {0, 1, 0, 0, 0}, 0, 0.8},
      {"soft-reflective-ceiling-policy", "{}", {0, 3, 2, 2, 0}, 0.3, 1},
      {"soft-reflective-ceiling-policy", "{}", {1, 3, 1, 2, 0}, 0.3, 0.85},
      {"soft-reflective-ceiling-policy", "{}", {2, 3, 0, 2, 0}, 0.3, 0.7},
  };
  for (const Case& each : cases) {
    const auto plugin = make(each.type, each.parameters);
    EXPECT_NEAR(dynamic_cast<UsageLimit&>(*plugin).ceiling(each.band, each.saturation), each.ceiling, 1e-12)
        << each.type << " " << each.parameters << " rank " << each.band.rank;
  }
}

TEST(SoftReflectiveCeiling, lets_all_through_once_in_a_period) {
  const auto plugin = make("soft-reflective-ceiling-policy");
  auto& limit = dynamic_cast<UsageLimit&>(*plugin);
  int through = 0;
  for (int round = 0; round < 40; ++round) {
    limit.next_round();
    through += limit.ceiling({1, 2, 0, 1, 0}, 0.8) == 1;  // period 0.8 / 0.2
  }
  EXPECT_EQ(through, 10);
}

TEST(ProbabilisticAdmitter, refuses_only_low_priorities_and_more_of_them_the_fuller_the_pool) {
  const auto plugin = make("probabilistic-admitter");
  auto& admitter = dynamic_cast<Admitter&>(*plugin);
  Random random(1);
  RoutedRequest request;
  const auto refused = [&](int priority, double saturation) {
    request.priority = priority;
    int count = 0;
    for (int i = 0; i < 2000; ++i) count += admitter.refuses(request, saturation, random).has_value();
    return count;
  };
  EXPECT_EQ(refused(0, 5), 0);
  EXPECT_EQ(refused(-1, 0), 0);
  EXPECT_NEAR(refused(-1, 0.25), 2000 * 300 * std::pow(0.25, 5), 100);
  EXPECT_EQ(refused(-1, 0.4), 2000);
}

TEST(ProgramAwareFairness, prefers_who_has_had_least_service_until_that_is_long_ago) {
  const auto plugin = make("program-aware-fairness", R"({"lasHalfLifeSeconds": 10})");
  auto& fairness = dynamic_cast<FairnessPolicy&>(*plugin);
  TimePoint now{};
  const auto serve = [&](FlightNumber flight, const char* program, std::int64_t output) {
    RoutedRequest request;
    request.fairness_id = program;
    RequestData data;
    plugin->sent(Sent{flight, request, data});
    plugin->done(flight, {.prompt_tokens = 10, .output_tokens = output}, now);
  };
  const std::string ids[] = {"a", "b"};
  WaitingRequest heads[2];
  const FairnessPolicy::Flow flows[] = {{&ids[0], &heads[0], 0}, {&ids[1], &heads[1], 0}};
  serve(1, "a", 500);
  EXPECT_EQ(fairness.pick(flows, "", now), 1u);
  now += std::chrono::seconds(100);
  heads[0].enqueued = heads[1].enqueued = now;
  serve(2, "b", 20);
  EXPECT_EQ(fairness.pick(flows, "", now), 0u) << "what a got has lost all but a thousandth of its weight";
}

// Random arrivals, departures and waits against counts kept by hand.
TEST(FlowControl, never_loses_or_doubles_a_request) {
  const auto ordering = make("fcfs-ordering-policy"), fairness = make("round-robin-fairness-policy"), usage = make("static-usage-limit-policy");
  FlowSettings settings;
  settings.max_requests = 40;
  settings.default_ttl = std::chrono::milliseconds(50);
  settings.default_band = {1000, 25, dynamic_cast<FairnessPolicy*>(fairness.get()), dynamic_cast<OrderingPolicy*>(ordering.get())};
  settings.default_negative_band = settings.default_band;
  settings.usage = dynamic_cast<UsageLimit*>(usage.get());
  FlowControl flow(settings);
  std::mt19937 random(11);
  std::map<std::uint64_t, int> waiting;  // ticket -> priority
  TimePoint now{};
  const auto gone = [&](std::uint64_t ticket) { ASSERT_EQ(waiting.erase(ticket), 1u) << ticket; };
  for (std::uint64_t ticket = 1; ticket < 5000; ++ticket) {
    now += std::chrono::milliseconds(random() % 3);
    auto request = std::make_shared<RoutedRequest>();
    request->priority = static_cast<int>(random() % 4) - 1;
    request->fairness_id = std::string(1, static_cast<char>('a' + random() % 3));
    request->body.assign(random() % 60, 'x');
    std::vector<FlowControl::Dropped> dropped;
    waiting[ticket] = request->priority;
    const bool waits = flow.enqueue(ticket, request, now, dropped);
    for (const auto& each : dropped) {
      EXPECT_EQ(each.refusal.status, 429);
      gone(each.waiting.ticket);
    }
    EXPECT_EQ(waits, waiting.contains(ticket));
    if (random() % 3 == 0) {
      if (const auto next = flow.dispatch(0.5, now)) {
        for (const auto& [other, priority] : waiting) EXPECT_LE(priority, next->request->priority);
        gone(next->ticket);
      }
    }
    EXPECT_FALSE(flow.dispatch(1, now).has_value()) << "a full pool takes nobody";
    for (const auto& each : flow.expire(now, false)) gone(each.waiting.ticket);
    if (random() % 10 == 0 && !waiting.empty()) {
      const std::uint64_t chosen = waiting.begin()->first;
      EXPECT_TRUE(flow.cancel(chosen));
      gone(chosen);
    }
    ASSERT_EQ(flow.waiting(), waiting.size());
    ASSERT_LE(flow.waiting(), 40u);
  }
  EXPECT_EQ(flow.shut_down().size(), waiting.size());
  EXPECT_EQ(flow.bytes(), 0);
}

}  // namespace
}  // namespace braid::router
