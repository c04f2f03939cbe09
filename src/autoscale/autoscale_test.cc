// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "autoscale/controller.h"

namespace braid::autoscale {
namespace {

// A service whose replicas behave as a curve says, seen through a little noise.
struct Service {
  double base = 0.005, prompt = 60e-6, decode = 120e-6;
  std::mt19937 random{3};

  RoleObservation at(int replicas, double arrivals, double input = 1000, double output = 200) {
    std::uniform_real_distribution<double> noise(0.97, 1.03);
    const double wanted = arrivals / replicas * (prompt * input + decode * output);
    const double load = std::min(0.99, wanted), served = arrivals / replicas * load / wanted;
    const double prompts = served * input, outputs = served * output;
    RoleObservation seen{.ready = replicas, .waiting = 15 * (arrivals - served * replicas), .prompt_rate = prompts * replicas, .output_rate = outputs * replicas, .cache_use = 0.2};
    seen.token_time = base / (1 - load) * noise(random);
    seen.first_token = 0.2 / (1 - load) * noise(random);
    seen.arrivals = arrivals;
    seen.prompt_tokens = input;
    seen.output_tokens = output;
    return seen;
  }
};

TEST(ServiceCurve, LearnsTheCostsOfAReplicaThatDecodes) {
  Service service;
  ServiceCurve curve(true);
  for (int i = 0; i < 60; ++i) curve.learn(service.at(2, 4 + i % 17, 500 + 100 * (i % 7), 100 + 40 * (i % 5)));
  ASSERT_TRUE(curve.known());
  EXPECT_NEAR(curve.prompt_cost() / service.prompt, 1, 0.2);
  EXPECT_NEAR(curve.decode_cost() / service.decode, 1, 0.2);
  EXPECT_NEAR(curve.token_time(0.5), 0.01, 0.001);
  EXPECT_NEAR(curve.first_token(0.5), 0.4, 0.05);
}

TEST(ServiceCurve, LearnsTheCostOfAPromptFromTheBusyShare) {
  ServiceCurve curve(false);
  for (int i = 1; i < 20; ++i) {
    RoleObservation seen{.ready = 2, .prompt_rate = 1000.0 * i};
    seen.busy = 50e-6 * seen.prompt_rate / 2;
    curve.learn(seen);
  }
  EXPECT_NEAR(curve.prompt_cost(), 50e-6, 1e-9);
}

TEST(ServiceCurve, KeepsObjectivesWithinItsBounds) {
  Service service;
  ServiceCurve curve(true);
  for (int i = 0; i < 60; ++i) curve.learn(service.at(2, 4 + i % 17, 500 + 100 * (i % 7), 100 + 40 * (i % 5)));
  EXPECT_NEAR(curve.most_load(10, 0.01), 0.5, 0.05);
  EXPECT_EQ(curve.most_load(10, 10), ServiceCurve::kMostLoad);
  EXPECT_EQ(curve.most_load(0.1, 10), ServiceCurve::kLeastLoad);
}

struct Walk {
  int replicas = 1;
  int changes = 0, turns = 0;  // turns: a change against the one before it

  ScaleDecision step(RoleController& controller, double now, const std::optional<RoleObservation>& seen) {
    const ScaleDecision decision = controller.decide(now, replicas, seen);
    const int change = decision.replicas - replicas;
    if (change != 0) {
      ++changes;
      turns += last * change < 0;
      last = change;
    }
    replicas = decision.replicas;
    return decision;
  }
  int last = 0;
};

TEST(RoleController, FollowsTrafficUpAtOnceAndDownAfterAWindow) {
  Service service;
  RoleController controller(true, {2, 0.02}, {});
  Walk run{.replicas = 2};
  double now = 0;
  for (int i = 0; i < 40; ++i) run.step(controller, now += 15, service.at(run.replicas, 10 + i % 3));
  const int before = run.replicas;
  run.step(controller, now += 15, service.at(run.replicas, 50));
  run.step(controller, now += 15, service.at(run.replicas, 50));
  EXPECT_GE(run.replicas, 2 * before);
  const int high = run.replicas;
  for (double end = now + 75; now < end;) run.step(controller, now += 15, service.at(run.replicas, 10));
  EXPECT_GE(run.replicas, high);
  for (double end = now + 900; now < end;) run.step(controller, now += 15, service.at(run.replicas, 10));
  EXPECT_LE(run.replicas, before + 1);
}

TEST(RoleController, DoesNotMoveUnderSteadyTraffic) {
  Service service;
  for (const double arrivals : {3.0, 7.5, 11.0, 26.0}) {
    RoleController controller(true, {2, 0.02}, {});
    Walk run{.replicas = 4};
    double now = 0;
    for (int i = 0; i < 60; ++i) run.step(controller, now += 15, service.at(run.replicas, arrivals));
    run.changes = run.turns = 0;
    std::mt19937 random(5);
    std::poisson_distribution<int> count(15 * arrivals);
    for (int i = 0; i < 480; ++i) run.step(controller, now += 15, service.at(run.replicas, count(random) / 15.0));
    EXPECT_LE(run.turns, 16) << arrivals << ": " << run.changes << " changes in two hours";
  }
}

TEST(RoleController, HoldsWhileMetricsAreMissingAndForAWindowAfterwards) {
  Service service;
  RoleController controller(true, {2, 0.02}, {});
  Walk run{.replicas = 6};
  double now = 0;
  for (int i = 0; i < 8; ++i) run.step(controller, now += 15, service.at(run.replicas, 60));
  const int before = run.replicas;
  for (int i = 0; i < 100; ++i) {
    const ScaleDecision decision = run.step(controller, now += 15, std::nullopt);
    EXPECT_NE(decision.reason.find("no metrics"), std::string::npos);
  }
  EXPECT_EQ(run.replicas, before);
  for (int i = 0; i < 8; ++i) run.step(controller, now += 15, service.at(run.replicas, 5));
  EXPECT_EQ(run.replicas, before);
}

TEST(RoleController, StaysWithinItsBoundsAndTellsWhy) {
  Service service;
  RoleController controller(true, {2, 0.02}, {.least = 2, .most = 5});
  Walk run{.replicas = 2};
  double now = 0;
  for (int i = 0; i < 10; ++i) run.step(controller, now += 15, service.at(run.replicas, 10 + i % 3));
  const ScaleDecision up = run.step(controller, now += 15, service.at(run.replicas, 500));
  EXPECT_EQ(run.replicas, 5);
  EXPECT_NE(up.reason.find("up from"), std::string::npos) << up.reason;
}

TEST(RoleController, FullCachesAskForReplicasToo) {
  Service service;
  RoleController controller(true, {2, 0.02}, {});
  Walk run{.replicas = 4};
  double now = 0;
  for (int i = 0; i < 10; ++i) run.step(controller, now += 15, service.at(run.replicas, 10 + i % 3));
  auto seen = service.at(run.replicas, 10);
  seen.cache_use = 0.98;
  const int before = run.replicas;
  EXPECT_NE(run.step(controller, now += 15, seen).reason.find("caches"), std::string::npos);
  EXPECT_GT(run.replicas, before);
}

}  // namespace
}  // namespace braid::autoscale
