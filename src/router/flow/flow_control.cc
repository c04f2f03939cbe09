// SPDX-License-Identifier: Apache-2.0
#include "router/flow/flow_control.h"

#include <algorithm>

namespace braid::router {
namespace {

Refusal too_full(const std::string& what) {
  return {429, dropped::kSaturated, what + " is full; try again later", 1};
}

Refusal pushed_out() {
  return {429, dropped::kQueuePressure, "a more urgent request needed the room in the queue; try again later", 1};
}

Refusal expired(bool pool_empty) {
  if (pool_empty) return {503, dropped::kTtlExpired, "no endpoint came up within the request's time to wait", 1};
  return {429, dropped::kTtlExpired, "the request waited for its turn as long as it may; try again later", 1};
}

}  // namespace

FlowControl::Band& FlowControl::band(int priority) {
  const auto found = bands_.find(priority);
  if (found != bands_.end()) return found->second;
  Band& made = bands_[priority];
  const auto settings = settings_.bands.find(priority);
  const BandSettings& otherwise = priority < 0 ? settings_.default_negative_band : settings_.default_band;
  made.settings = settings == settings_.bands.end() ? otherwise : settings->second;
  return made;
}

bool FlowControl::enqueue(std::uint64_t ticket, std::shared_ptr<RoutedRequest> request, TimePoint now, std::vector<Dropped>& dropped) {
  WaitingRequest waiting{ticket, std::move(request), now, {}, {}, 0};
  const RoutedRequest& asked = *waiting.request;
  waiting.bytes = static_cast<std::int64_t>(asked.body.size());
  const auto deadline = [&](Duration configured) -> std::optional<TimePoint> {
    Duration ttl = configured;
    if (asked.ttl && (configured.count() == 0 || *asked.ttl < configured)) ttl = *asked.ttl;
    const bool none = configured.count() == 0 && !asked.ttl;
    return none ? std::nullopt : std::optional(now + ttl);
  };
  waiting.deadline = deadline(settings_.default_ttl);
  waiting.no_endpoint_deadline = deadline(settings_.no_endpoint_ttl);
  Band& into = band(asked.priority);
  const bool room = static_cast<std::int64_t>(into.requests) < into.settings.max_requests &&
                    into.bytes + waiting.bytes <= into.settings.max_bytes;
  if (!room) {
    dropped.push_back({std::move(waiting), too_full("the queue of priority " + std::to_string(asked.priority))});
    return false;
  }
  if (!make_room(asked.priority, waiting.bytes, dropped)) {
    dropped.push_back({std::move(waiting), too_full("the router's queue")});
    return false;
  }
  const std::int64_t key = into.settings.ordering->key(waiting);
  Flow& flow = into.flows[asked.fairness_id];
  by_ticket_[ticket] = {asked.priority, asked.fairness_id, key};
  if (waiting.deadline) deadlines_.emplace(*waiting.deadline, ticket);
  if (waiting.no_endpoint_deadline) no_endpoint_deadlines_.emplace(*waiting.no_endpoint_deadline, ticket);
  ++into.requests;
  into.bytes += waiting.bytes;
  flow.bytes += waiting.bytes;
  bytes_ += waiting.bytes;
  flow.queue.emplace(std::pair(key, ticket), std::move(waiting));
  return true;
}

std::optional<std::uint64_t> FlowControl::newest_below(int priority) const {
  for (auto band = bands_.rbegin(); band != bands_.rend() && band->first < priority; ++band) {
    std::optional<std::uint64_t> newest;
    for (const auto& [id, flow] : band->second.flows) {
      for (const auto& [key, waiting] : flow.queue) newest = std::max(newest.value_or(0), waiting.ticket);
    }
    if (newest) return newest;
  }
  return std::nullopt;
}

bool FlowControl::make_room(int priority, std::int64_t bytes, std::vector<Dropped>& dropped) {
  const auto full = [&] {
    const bool many = settings_.max_requests > 0 && static_cast<std::int64_t>(by_ticket_.size()) >= settings_.max_requests;
    return many || (settings_.max_bytes > 0 && bytes_ + bytes > settings_.max_bytes);
  };
  if (settings_.max_bytes > 0 && bytes > settings_.max_bytes) return false;
  while (full()) {
    const auto victim = newest_below(priority);
    if (!victim) return false;
    dropped.push_back({take(*victim), pushed_out()});
  }
  return true;
}

WaitingRequest FlowControl::take(std::uint64_t ticket) {
  const auto found = by_ticket_.find(ticket);
  const Place place = std::move(found->second);
  by_ticket_.erase(found);
  Band& from = bands_.at(place.priority);
  Flow& flow = from.flows.find(place.flow)->second;
  const auto queued = flow.queue.find({place.key, ticket});
  WaitingRequest waiting = std::move(queued->second);
  flow.queue.erase(queued);
  flow.bytes -= waiting.bytes;
  from.bytes -= waiting.bytes;
  bytes_ -= waiting.bytes;
  --from.requests;
  if (flow.queue.empty()) from.flows.erase(place.flow);
  if (waiting.deadline) deadlines_.erase({*waiting.deadline, ticket});
  if (waiting.no_endpoint_deadline) no_endpoint_deadlines_.erase({*waiting.no_endpoint_deadline, ticket});
  return waiting;
}

std::string FlowControl::pick_flow(Band& band, TimePoint now) {
  std::vector<FairnessPolicy::Flow> flows;
  for (const auto& [id, flow] : band.flows) {
    const auto& head = *flow.queue.begin();
    flows.push_back({&id, &head.second, head.first.first});
  }
  return *flows[band.settings.fairness->pick(flows, band.last_flow, now)].id;
}

void FlowControl::next_round() { settings_.usage->next_round(); }

std::optional<WaitingRequest> FlowControl::dispatch(double saturation, TimePoint now) {
  UsageLimit::Band place{0, bands_.size(), 0, 0, 0};
  if (!bands_.empty()) {
    place.highest = bands_.begin()->first;
    place.lowest = bands_.rbegin()->first;
  }
  for (auto& [priority, band] : bands_) {
    place.priority = priority;
    if (band.requests > 0) {
      if (saturation >= settings_.usage->ceiling(place, saturation)) return std::nullopt;
      band.last_flow = pick_flow(band, now);
      return take(band.flows.find(band.last_flow)->second.queue.begin()->second.ticket);
    }
    ++place.rank;
  }
  return std::nullopt;
}

std::vector<FlowControl::Dropped> FlowControl::expire(TimePoint now, bool pool_empty) {
  std::vector<Dropped> dropped;
  const auto& deadlines = pool_empty ? no_endpoint_deadlines_ : deadlines_;
  while (!deadlines.empty() && deadlines.begin()->first <= now) {
    dropped.push_back({take(deadlines.begin()->second), expired(pool_empty)});
  }
  return dropped;
}

bool FlowControl::cancel(std::uint64_t ticket) {
  if (!by_ticket_.contains(ticket)) return false;
  take(ticket);
  return true;
}

std::vector<FlowControl::Dropped> FlowControl::shut_down() {
  std::vector<Dropped> all;
  while (!by_ticket_.empty()) {
    all.push_back({take(by_ticket_.begin()->first), {503, dropped::kShuttingDown, "the router is shutting down", 1}});
  }
  return all;
}

std::size_t FlowControl::waiting_above(int priority) const {
  std::size_t count = 0;
  for (const auto& [each, band] : bands_) {
    if (each > priority) count += band.requests;
  }
  return count;
}

std::optional<TimePoint> FlowControl::next_deadline(bool pool_empty) const {
  const auto& deadlines = pool_empty ? no_endpoint_deadlines_ : deadlines_;
  return deadlines.empty() ? std::nullopt : std::optional(deadlines.begin()->first);
}

void FlowControl::for_each_flow(const std::function<void(const std::string&, int, std::size_t, std::int64_t)>& visit) const {
  for (const auto& [priority, band] : bands_) {
    for (const auto& [id, flow] : band.flows) visit(id, priority, flow.queue.size(), flow.bytes);
  }
}

void FlowControl::for_each_band(const std::function<void(int, double, double)>& visit) const {
  const auto share = [](double used, std::int64_t most) { return most > 0 ? used / static_cast<double>(most) : 0.0; };
  for (const auto& [priority, band] : bands_) {
    visit(priority, share(static_cast<double>(band.requests), band.settings.max_requests), share(static_cast<double>(band.bytes), band.settings.max_bytes));
  }
}

}  // namespace braid::router
