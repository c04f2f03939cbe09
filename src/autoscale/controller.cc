// SPDX-License-Identifier: Apache-2.0
#include "autoscale/controller.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace braid::autoscale {
namespace {

constexpr double kFast = 0.5, kSlow = 0.08;  // weight of the newest interval
constexpr double kSlack = 0.2;               // of a replica: demand above a whole number that adds none
constexpr double kSurge = 1.15;               // of the mean: what is above it is more than chance
constexpr double kBand = 1.06;               // demand may grow by so much before what a step down leaves is too little

// How the limit of load follows what objectives show: slowly up while there is much room; down to below what was too much,
// which is not tried again soon: the limit stays there, and that is forgiven slowly.
constexpr double kRoom = 0.4, kTight = 0.9, kRaise = 1.015, kLeastTrim = 0.6, kMostTrim = 1.6, kBelow = 0.97, kForgive = 1.0003;
constexpr int kTightIntervals = 2;
// Load above which queues grow, unless more was seen to do; and while hardly a request is late, where whole replicas are
// large steps.
constexpr double kFull = 0.95, kProbe = 1.05, kUnused = 0.2;
constexpr double kRemember = 0.95;  // weight of an interval's requests in the budget after the next one

// A step up within so many windows after a step down was a turn too many; windows grow by kLonger, up to kLongest times, until
// there was none for kCalm seconds.
constexpr double kRegret = 3, kLonger = 1.5, kLongest = 4, kCalm = 3600;

template <class... Values>
std::string text(const char* format, Values... values) {
  char out[256];
  std::snprintf(out, sizeof out, format, values...);
  return out;
}

void follow(double& mean, double value, double weight) { mean = mean == 0 ? value : mean + weight * (value - mean); }

}  // namespace

RoleController::RoleController(bool decodes, const Objectives& objectives, const ControllerSettings& settings)
    : decodes_(decodes), objectives_(objectives), settings_(settings), curve_(decodes) {}

ScaleDecision RoleController::decide(double now, int replicas, const std::optional<RoleObservation>& seen) {
  if (!seen) {
    since_.reset();
    wishes_.clear();
    if (!last_seen_) return {replicas, replicas, text("holds %d: no metrics have come yet", replicas)};
    return {replicas, replicas, text("holds %d: no metrics for %.0f s", replicas, now - *last_seen_)};
  }
  last_seen_ = now;
  if (seen->prompt_tokens > 0) follow(prompt_tokens_, seen->prompt_tokens, kSlow);
  if (seen->output_tokens > 0) follow(output_tokens_, seen->output_tokens, kSlow);
  count_late(*seen);
  curve_.learn(*seen);
  trim(*seen);
  const Demand wanted = curve_.known() ? demand(*seen) : without_curve(*seen);
  ScaleDecision decision{replicas, replicas, wanted.why};
  decision.replicas = settle(now, replicas, wanted.replicas, decision.reason);
  return decision;
}

double RoleController::budget_used() const { return started_ > 0 ? late_ / started_ / (1 - objectives_.kept) : 0; }

// Whether requests are late in one interval is chance, so they are counted over many. Those of a fleet of another size say
// little: half of the budget is used then, which neither raises nor lowers anything.
void RoleController::count_late(const RoleObservation& seen) {
  if (seen.ready != ready_) late_ = 0.5 * (1 - objectives_.kept) * started_;
  ready_ = seen.ready;
  started_ = kRemember * started_ + seen.started;
  late_ = kRemember * late_ + seen.late;
  late_now_ = seen.late > (1 - objectives_.kept) * seen.started;
}

double RoleController::most_load(const RoleObservation& seen) const {
  const double allowed = curve_.most_load(decodes_ && seen.prompt_rate <= 0 ? 0 : objectives_.first_token, objectives_.token_time);
  const bool unused = started_ > 0 && budget_used() < kUnused;
  return std::min(trim_ * allowed, std::max(unused ? kProbe : kFull, sustained_));
}

// The curve is a mean over requests and may be off by a factor, which shows in the objectives.
void RoleController::trim(const RoleObservation& seen) {
  if (seen.starting > 0 || (seen.started == 0 && !seen.token_time)) return;
  const double paced = decodes_ && seen.token_time ? *seen.token_time / objectives_.token_time : 0;
  const double carried = slow_ / seen.ready, most = most_load(seen);
  ceiling_ = std::min(kMostTrim, ceiling_ * kForgive);
  tight_ = paced > kTight || (budget_used() > 1 && late_now_) ? tight_ + 1 : 0;
  if (tight_ >= kTightIntervals && carried < most) {
    trim_ = std::max(kLeastTrim, trim_ * kBelow * carried / most);
    ceiling_ = trim_;
  } else if (tight_ == 0 && std::max(budget_used(), paced) < kRoom) {
    sustained_ = std::max(sustained_, carried);
    if (!waits_) trim_ = std::max(trim_, std::min(ceiling_, trim_ * kRaise));
  }
}

RoleController::Demand RoleController::demand(const RoleObservation& seen) {
  const double most = most_load(seen);
  // Offered: what arrives, whether or not it is computed already.
  const double prompts = seen.prompt_rate > 0 || !decodes_ ? seen.arrivals * prompt_tokens_ : 0;
  const double outputs = decodes_ ? seen.arrivals * output_tokens_ : 0;
  const double offered = curve_.load(prompts, outputs);
  follow(fast_, offered, kFast);
  follow(slow_, offered, kSlow);
  // Well above its slow mean the load is taken to go on rising while replicas start.
  const double rising = fast_ > kSurge * slow_ ? fast_ - slow_ : 0;
  const double steady = slow_ + rising;
  const double backlog = curve_.load(seen.waiting * prompt_tokens_, 0) / settings_.drain;
  const double by_load = (steady + 0.5 * rising + backlog) / most;
  const double by_cache = decodes_ ? seen.cache_use / settings_.cache_target * seen.ready : 0;
  const double here = seen.ready + seen.starting;
  const bool late = seen.waiting >= seen.ready && budget_used() > 1 && late_now_;
  if (late && seen.starting == 0 && here + 1 > std::max(by_load, by_cache)) {
    return {here + 1, text("%.0f requests wait, and %.1f %% of them were late lately", seen.waiting, 100 * late_ / started_)};
  }
  if (by_cache > by_load) {
    return {by_cache, text("caches of %d are %.0f %% full, %.0f %% is the aim", seen.ready, 100 * seen.cache_use, 100 * settings_.cache_target)};
  }
  return {by_load, text("load %.2f replicas (%.0f requests wait: %.2f more) at %.2f a replica, where ttft %.0f ms and itl %.0f ms are kept", steady + 0.5 * rising,
                        seen.waiting, backlog, most, 1e3 * objectives_.first_token, 1e3 * objectives_.token_time)};
}

// Before anything is learned: one more while requests wait or objectives are missed.
RoleController::Demand RoleController::without_curve(const RoleObservation& seen) const {
  const bool late = seen.first_token && *seen.first_token > objectives_.first_token;
  const bool slow = decodes_ && seen.token_time && *seen.token_time > objectives_.token_time;
  const double here = seen.ready + seen.starting;
  if (seen.waiting > 2.0 * seen.ready || late || slow) return {here + 1, text("no curve yet, and %.0f requests wait", seen.waiting)};
  return {here, "no curve yet"};
}

int RoleController::settle(double now, int replicas, double wanted, std::string& reason) {
  const auto whole = [&](double demand) { return std::clamp(static_cast<int>(std::ceil(demand - kSlack)), settings_.least, settings_.most); };
  const int target = whole(wanted), roomy = whole(kBand * wanted);
  if (!since_) since_ = now;
  if (window_ == 0 || now - turned_ > kCalm) window_ = settings_.down_window;
  wishes_.push_back({now, roomy});
  while (wishes_.front().at < now - window_) wishes_.pop_front();
  waits_ = roomy < replicas;
  if (target >= replicas) {
    reason = (target > replicas ? text("up from %d to %d: ", replicas, target) : text("stays at %d: ", replicas)) + reason;
    if (target > replicas && lowered_ && now - *lowered_ < kRegret * window_) {
      // The last step down was a mistake: the next one takes longer to be made.
      window_ = std::min(kLongest * settings_.down_window, kLonger * window_);
      turned_ = now;
      lowered_.reset();
    }
    return target;
  }
  const int enough = std::max_element(wishes_.begin(), wishes_.end(), [](const Wish& a, const Wish& b) { return a.replicas < b.replicas; })->replicas;
  if (now - *since_ < window_ || enough >= replicas) {
    reason = text("stays at %d, %d would do, but have not yet for %.0f s: ", replicas, roomy, window_) + reason;
    return replicas;
  }
  const int next = std::max(enough, replicas - std::max(1, static_cast<int>(settings_.most_down * replicas)));
  reason = text("down from %d to %d, enough for %.0f s: ", replicas, next, window_) + reason;
  lowered_ = now;
  return next;
}

}  // namespace braid::autoscale
