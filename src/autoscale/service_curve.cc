// SPDX-License-Identifier: Apache-2.0
#include "autoscale/service_curve.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace braid::autoscale {
namespace {

constexpr double kForget = 0.98;   // weight of an interval after the next one
constexpr int kRounds = 200;
constexpr double kSmooth = 0.2;    // weight of the newest in means
// While traffic hardly changes, costs and base can't be told apart: then the load is taken to be the reason.
constexpr double kRidge = 0.02;
constexpr double kMostSeen = 0.95; // loads above it are queues, which say nothing of the curve

}  // namespace

void ServiceCurve::learn(const RoleObservation& seen) {
  if (seen.ready <= 0 || seen.prompt_rate + seen.output_rate <= 0) return;
  const double prompts = seen.prompt_rate / seen.ready, outputs = seen.output_rate / seen.ready;
  if (decodes_) {
    if (!seen.token_time || *seen.token_time <= 0) return;
    learn_steps(*seen.token_time, prompts * *seen.token_time, outputs * *seen.token_time);
  } else {
    if (!seen.busy || prompts <= 0 || *seen.busy <= 0) return;
    const double now = *seen.busy / prompts;
    cost_[1] = samples_ == 0 ? now : cost_[1] + kSmooth * (now - cost_[1]);
    ++samples_;
  }
  const double at = load(prompts, outputs);
  if (!seen.first_token || at >= kMostSeen) return;
  const double scale = *seen.first_token * (1 - at);
  first_token_scale_ = first_token_scale_ == 0 ? scale : first_token_scale_ + kSmooth * (scale - first_token_scale_);
}

// Relative errors, costs never below zero: a cost that would be is left out.
void ServiceCurve::learn_steps(double token_time, double prompts_in_step, double sequences) {
  const std::array<double, 3> row = {1 / token_time, prompts_in_step / token_time, sequences / token_time};
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t j = 0; j < 3; ++j) normal_[i][j] = kForget * normal_[i][j] + row[i] * row[j];
    normal_[i][3] = kForget * normal_[i][3] + row[i];
  }
  ++samples_;
  std::array<double, 3> cost = cost_;
  for (double& c : cost) c = std::max(c, 0.0);
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t i = 0; i < 3; ++i) {
      double rest = normal_[i][3];
      for (std::size_t j = 0; j < 3; ++j) rest -= i == j ? 0 : normal_[i][j] * cost[j];
      const double own = normal_[i][i] * (i == 0 ? 1 + kRidge : 1);
      cost[i] = own > 0 ? std::max(0.0, rest / own) : 0;
    }
  }
  cost_ = cost;
}

double ServiceCurve::token_time(double load) const { return load >= 1 ? std::numeric_limits<double>::infinity() : cost_[0] / (1 - load); }

double ServiceCurve::first_token(double load) const {
  return load >= 1 ? std::numeric_limits<double>::infinity() : first_token_scale_ / (1 - load);
}

double ServiceCurve::most_load(double first_token, double token_time) const {
  double most = kMostLoad;
  if (decodes_ && token_time > 0) most = std::min(most, 1 - cost_[0] / token_time);
  if (first_token > 0) most = std::min(most, 1 - first_token_scale_ / first_token);
  return std::max(most, kLeastLoad);
}

}  // namespace braid::autoscale
