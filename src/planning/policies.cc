// SPDX-License-Identifier: Apache-2.0
#include "planning/policies.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <memory>
#include <utility>

#include "planning/report.h"

namespace braid::planning {
namespace {

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

autoscale::RoleObservation observation(const ClusterView& view, Role role, double first_token) {
  const RoleView& r = view.of(role);
  autoscale::RoleObservation seen{.ready = r.ready, .starting = r.starting, .waiting = r.waiting, .running = r.running, .cache_use = r.cache_use};
  seen.arrivals = view.requests / view.interval;
  if (view.requests > 0) seen.output_tokens = view.output_tokens / view.requests;
  const double generated = role == Role::kPrefill ? 0 : view.finished_output / view.interval;
  seen.output_rate = generated;
  seen.prompt_rate = r.step_prompt_tokens / view.interval;
  // What caches found is known of the prompts that were computed.
  if (view.started > 0 && role != Role::kDecode) seen.prompt_tokens = r.step_prompt_tokens / view.started;
  if (role == Role::kPrefill) seen.busy = r.busy;
  if (role != Role::kPrefill && !view.token_times.empty()) seen.token_time = mean(view.token_times);
  if (role == Role::kDecode || view.first_tokens.empty()) return seen;
  seen.first_token = percentile(view.first_tokens, 0.9);
  seen.started = static_cast<double>(view.first_tokens.size());
  seen.late = static_cast<double>(std::ranges::count_if(view.first_tokens, [&](double seconds) { return seconds > first_token; }));
  return seen;
}

}  // namespace

Scaler braid_scaler(const Layout& layout, const autoscale::Objectives& objectives, const autoscale::ControllerSettings& settings, Told told) {
  auto controllers = std::make_shared<std::array<std::optional<autoscale::RoleController>, kRoles>>();
  for (int r = 0; r < kRoles; ++r) {
    const auto role = static_cast<Role>(r);
    if (layout.of(role)) (*controllers)[static_cast<std::size_t>(r)].emplace(role != Role::kPrefill, objectives, settings);
  }
  return [controllers, first_token = objectives.first_token, told = std::move(told)](const ClusterView& view) {
    Targets targets;
    for (std::size_t r = 0; r < kRoles; ++r) {
      auto& controller = (*controllers)[r];
      if (!controller) continue;
      const RoleView& role = view.roles[r];
      const auto decision = controller->decide(view.now, role.ready + role.starting, observation(view, static_cast<Role>(r), first_token));
      if (told) told(view.now, static_cast<Role>(r), decision);
      targets[r] = decision.replicas;
    }
    return targets;
  };
}

Scaler hpa_queue_scaler(double queue_target, int most) {
  auto wishes = std::make_shared<std::array<std::deque<std::pair<double, int>>, kRoles>>();
  return [=](const ClusterView& view) {
    Targets targets;
    for (std::size_t r = 0; r < kRoles; ++r) {
      const RoleView& role = view.roles[r];
      const int now = role.ready + role.starting;
      if (now == 0) continue;
      const double ratio = role.waiting / (now * queue_target);
      int wanted = std::abs(ratio - 1) <= 0.1 ? now : static_cast<int>(std::ceil(now * ratio));
      wanted = std::clamp(wanted, 1, std::min(most, 2 * now));
      auto& window = (*wishes)[r];
      window.emplace_back(view.now, wanted);
      while (window.front().first < view.now - 300) window.pop_front();
      for (const auto& [at, wish] : window) {
        if (wanted < now) wanted = std::max(wanted, std::min(wish, now));
      }
      targets[r] = wanted;
    }
    return targets;
  };
}

Scaler saturation_scaler(int most) {
  return [=](const ClusterView& view) {
    constexpr double kCache = 0.8, kQueue = 5, kSpareCache = 0.1, kSpareQueue = 3;
    Targets targets;
    for (std::size_t r = 0; r < kRoles; ++r) {
      const RoleView& role = view.roles[r];
      if (role.ready == 0 || role.starting > 0) continue;
      const double queue = role.waiting / role.ready;
      const bool tight = kCache - role.cache_use < kSpareCache || kQueue - queue < kSpareQueue;
      const double fewer = role.ready > 1 ? static_cast<double>(role.ready) / (role.ready - 1) : 0;
      const bool loose = role.ready > 1 && kCache - role.cache_use * fewer >= kSpareCache && kQueue - queue * fewer >= kSpareQueue;
      targets[r] = std::min(most, role.ready + tight - (!tight && loose));
    }
    return targets;
  };
}

Scaler oracle_scaler(const ClusterOptions& options, std::span<const TrafficRequest> traffic, double load, double ahead) {
  // Seconds of a group for each request, by the cost model; prompts without what an endless cache would find.
  const Role role = Role::kBoth;
  const auto group = group_model(options.model, options.costs, options.choices, role, options.layout.of(role)->ranks);
  CHECK(group.ok());
  auto work = std::make_shared<std::vector<std::pair<double, double>>>();
  constexpr double kBatch = 32;  // sequences that share a step
  for (const TrafficRequest& request : traffic) {
    const double input = request.input;
    const RankWork prompt{.prefill_rows = input, .prefill_pairs = input * input / 2, .logits = 1};
    const RankWork token{.decode_rows = kBatch, .decode_keys = kBatch * input, .logits = kBatch};
    const double seconds = step_time(group->model, group->rates, group->exchange, prompt, input).seconds() +
                           request.output / kBatch * step_time(group->model, group->rates, group->exchange, token, kBatch).seconds();
    work->emplace_back(request.arrival, seconds);
  }
  return [=](const ClusterView& view) {
    double sum = 0;
    const double begin = view.now, end = view.now + ahead;
    for (const auto& [at, seconds] : *work) sum += at >= begin && at < end ? seconds : 0;
    Targets targets;
    targets[static_cast<std::size_t>(role)] = std::max(1, static_cast<int>(std::ceil(sum / ahead / load)));
    return targets;
  };
}

}  // namespace braid::planning
