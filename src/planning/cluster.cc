// SPDX-License-Identifier: Apache-2.0
#include "planning/cluster.h"

#include <algorithm>
#include <cstdio>
#include <queue>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "planning/group.h"
#include "router/router.h"

namespace braid::planning {
namespace {

constexpr int kBytesPerToken = 4;

constexpr const char* kTogether = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: approx-prefix-cache-producer, parameters: {autoTune: false, blockSizeTokens: 512}}
- {type: prefix-cache-scorer}
- {type: queue-scorer}
- {type: kv-cache-utilization-scorer}
- {type: active-request-scorer}
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: prefix-cache-scorer, weight: 3}
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: active-request-scorer, weight: 2}
)";

constexpr const char* kDivided = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: disagg-profile-handler}
- {type: always-disagg-pd-decider}
- {type: approx-prefix-cache-producer, parameters: {autoTune: false, blockSizeTokens: 512}}
- {type: decode-filter}
- {type: prefill-filter}
- {type: prefix-cache-scorer}
- {type: queue-scorer}
- {type: active-request-scorer}
schedulingProfiles:
- name: decode
  plugins: [{pluginRef: decode-filter}, {pluginRef: active-request-scorer}, {pluginRef: queue-scorer}]
- name: prefill
  plugins: [{pluginRef: prefill-filter}, {pluginRef: prefix-cache-scorer, weight: 2}, {pluginRef: queue-scorer, weight: 2}, {pluginRef: active-request-scorer, weight: 3}]
)";

// A prompt for the router, alike where the trace says so.
std::string body_of(const TrafficRequest& request) {
  std::string body = "{\"model\":\"m\",\"max_tokens\":" + std::to_string(request.output) + ",\"prompt\":\"";
  int left = request.input;
  for (const std::uint64_t id : request.blocks) {
    char name[24];
    const int size = std::snprintf(name, sizeof name, "%015llx,", static_cast<unsigned long long>(id));
    const int bytes = kBytesPerToken * std::min(left, kTraceBlock);
    for (int at = 0; at < bytes; at += size) body.append(name, static_cast<std::size_t>(std::min(size, bytes - at)));
    left -= kTraceBlock;
  }
  return body + "\"}";
}

class SimulationClock final : public Clock {
 public:
  TimePoint now() const override { return now_; }
  void set(double seconds) { now_ = TimePoint(Duration(static_cast<std::int64_t>(seconds * 1e9))); }

 private:
  TimePoint now_{};
};

struct Event {
  double at;
  enum class Kind { kArrival, kStep, kTransfer, kReady, kScale } kind;
  std::size_t index = 0;      // of a request or a group
  std::uint64_t version = 0;  // of a group's stretch
  std::uint64_t order = 0;

  bool operator<(const Event& other) const { return std::tie(other.at, other.order) < std::tie(at, order); }
};

struct Flight {
  router::FlightId id = 0;
  std::size_t decode_group = 0;
  int decode_rank = 0;
  bool prefilled_apart = false;
};

class Simulation {
 public:
  Simulation(const ClusterOptions& options, std::span<const TrafficRequest> traffic, const Scaler& scaler)
      : options_(options), traffic_(traffic), scaler_(scaler), hasher_(prefix::Algorithm::kXxhashCbor, "0") {}

  Result<ClusterOutcome> run() {
    RETURN_IF_ERROR(start());
    while (!events_.empty() && ended_ < traffic_.size()) {
      const Event event = events_.top();
      events_.pop();
      now_ = event.at;
      clock_.set(now_);
      RETURN_IF_ERROR(handle(event));
    }
    finish();
    return std::move(outcome_);
  }

 private:
  using Kind = Event::Kind;

  Status start() {
    router::PickerConfig picker;
    if (options_.picker) picker = *options_.picker;
    else {
      ASSIGN_OR_RETURN(picker, router::parse_picker_config(options_.layout.divided() ? kDivided : kTogether, "the simulation's router"));
    }
    ASSIGN_OR_RETURN(router_, router::Router::make(picker, {.clock = &clock_, .seed = options_.seed}));
    outcome_.requests.resize(traffic_.size());
    flights_.resize(traffic_.size());
    for (int r = 0; r < kRoles; ++r) {
      const auto& groups = options_.layout.of(static_cast<Role>(r));
      if (!groups) continue;
      ASSIGN_OR_RETURN(models_[static_cast<std::size_t>(r)],
                       group_model(options_.model, options_.costs, options_.choices, static_cast<Role>(r), groups->ranks));
      for (int i = 0; i < groups->count; ++i) add_group(static_cast<Role>(r));
    }
    for (std::size_t g = 0; g < groups_.size(); ++g) make_ready(g);
    note_scale();
    if (!traffic_.empty()) post({traffic_.front().arrival, Kind::kArrival, 0});
    if (scaler_) post({options_.interval, Kind::kScale});
    return {};
  }

  Status handle(const Event& event) {
    switch (event.kind) {
      case Kind::kArrival: return arrive(event.index);
      case Kind::kTransfer: decode(event.index); return {};
      case Kind::kReady: make_ready(event.index); return retry();
      case Kind::kScale: scale(); return {};
      case Kind::kStep:
        if (groups_[event.index]->version() == event.version && groups_[event.index]->stepping()) end_stretch(event.index);
        return {};
    }
    return {};
  }

  void post(Event event) {
    event.order = order_++;
    events_.push(event);
  }

  // Groups.

  void add_group(Role role) {
    groups_.push_back(std::make_unique<Group>(models_[static_cast<std::size_t>(role)], role, static_cast<int>(groups_.size()), &hasher_));
    groups_.back()->created = now_;
    ready_.push_back(false);
    gone_.push_back(false);
  }

  void make_ready(std::size_t g) {
    if (gone_[g] || ready_[g]) return;
    ready_[g] = true;
    for (int rank = 0; rank < groups_[g]->ranks(); ++rank) {
      router::Endpoint endpoint{{groups_[g]->name(rank), "10.0.0.1", static_cast<int>(1000 + places_.size() % 60000), 0}, {}, {}};
      endpoint.labels[std::string(router::kRoleLabel)] = groups_[g]->role() == Role::kPrefill ? "prefill" : groups_[g]->role() == Role::kDecode ? "decode" : "both";
      places_[endpoint.id.name] = {g, rank};
      endpoints_.push_back(std::move(endpoint));
    }
    refreshed_ = -1;
  }

  void drain(std::size_t g) {
    groups_[g]->draining = true;
    std::erase_if(endpoints_, [&](const router::Endpoint& e) { return places_.at(e.id.name).first == g; });
    if (!ready_[g] || groups_[g]->idle()) remove(g);
  }

  void remove(std::size_t g) {
    if (gone_[g]) return;
    gone_[g] = true;
    account(g, now_);
    for (int rank = 0; rank < groups_[g]->ranks(); ++rank) router_->remove_endpoint(groups_[g]->name(rank));
  }

  void account(std::size_t g, double until) {
    RoleOutcome& role = outcome_.roles[static_cast<std::size_t>(groups_[g]->role())];
    role.group_seconds += until - groups_[g]->created;
    for (int rank = 0; rank < groups_[g]->ranks(); ++rank) {
      outcome_.cached_tokens += groups_[g]->rank(rank).cached_tokens();
      outcome_.preemptions += groups_[g]->rank(rank).preemptions();
    }
  }

  void begin_stretch(std::size_t g) {
    if (groups_[g]->stepping()) return;
    if (groups_[g]->begin(now_).steps > 0) post({groups_[g]->end(), Kind::kStep, g, groups_[g]->version()});
  }

  void submit(std::size_t g, int rank, const Job& job) {
    Group& group = *groups_[g];
    if (group.stepping()) {
      const std::uint64_t before = group.version();
      group.shorten(now_);
      if (group.version() != before) post({group.end(), Kind::kStep, g, group.version()});
      pending_[g].push_back({rank, job});
      return;
    }
    group.rank(rank).submit(job);
    begin_stretch(g);
  }

  void end_stretch(std::size_t g) {
    Rank::Events events;
    const Group::Stretch done = groups_[g]->finish(events);
    const auto steps = static_cast<double>(done.steps);
    const auto r = static_cast<std::size_t>(groups_[g]->role());
    RoleOutcome& role = outcome_.roles[r];
    const double seconds = now_ - done.begin;
    role.busy_seconds += seconds;
    role.steps += steps;
    role.tokens += steps * done.tokens;
    for (std::size_t i = 0; i < done.time.parts.size(); ++i) role.time.parts[i] += steps * done.time.parts[i];
    role.time.hidden += steps * done.time.hidden;
    busy_[r] += seconds;
    step_tokens_[r] += steps * done.tokens;
    step_prompts_[r] += steps * done.prompt_tokens;
    for (auto& [rank, job] : pending_[g]) groups_[g]->rank(rank).submit(job);
    pending_[g].clear();
    for (const std::size_t request : events.started) started(request, groups_[g]->role());
    for (const std::size_t request : events.finished) finished(request, groups_[g]->role());
    if (groups_[g]->draining && groups_[g]->idle()) remove(g);
    else begin_stretch(g);
  }

  // Requests.

  Status arrive(std::size_t i) {
    const TrafficRequest& request = traffic_[i];
    outcome_.requests[i].arrival = request.arrival;
    outcome_.input_tokens += request.input;
    ++arrived_;
    input_ += request.input;
    output_ += request.output;
    if (i + 1 < traffic_.size()) post({traffic_[i + 1].arrival, Kind::kArrival, i + 1});
    return place(i);
  }

  Status place(std::size_t i) {
    const TrafficRequest& request = traffic_[i];
    refresh();
    ASSIGN_OR_RETURN(auto routed, router::read_request({"POST", "/v1/completions", {}, body_of(request)}, clock_.now()));
    const router::Decision decision = router_->decide(routed, endpoints_);
    if (!decision.ok()) {
      homeless_.push_back(i);
      return {};
    }
    flights_[i].id = router_->sent(routed, decision);
    const auto [group, rank] = places_.at(decision.primary().id.name);
    flights_[i].decode_group = group;
    flights_[i].decode_rank = rank;
    flights_[i].prefilled_apart = !decision.prefill.empty();
    if (decision.prefill.empty()) {
      submit(group, rank, {i, &request, request.output});
      return {};
    }
    const auto [prefill_group, prefill_rank] = places_.at(decision.prefill.front().id.name);
    submit(prefill_group, prefill_rank, {i, &request, 1});
    return {};
  }

  // Requests that found no endpoint.
  Status retry() {
    for (const std::size_t i : std::exchange(homeless_, {})) RETURN_IF_ERROR(place(i));
    return {};
  }

  // Its keys and values have arrived where it is decoded.
  void decode(std::size_t i) {
    Flight& flight = flights_[i];
    if (gone_[flight.decode_group]) flight.decode_group = any_decoder();
    submit(flight.decode_group, flight.decode_rank, {i, &traffic_[i], traffic_[i].output});
  }

  std::size_t any_decoder() const {
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      if (ready_[g] && !gone_[g] && groups_[g]->role() == Role::kDecode) return g;
    }
    return 0;
  }

  void started(std::size_t i, Role role) {
    RequestOutcome& request = outcome_.requests[i];
    if (request.first_token >= 0 || (role == Role::kDecode && flights_[i].prefilled_apart)) return;
    request.first_token = now_ - request.arrival;
    router_->first_chunk(flights_[i].id);
    first_tokens_.push_back(request.first_token);
  }

  void finished(std::size_t i, Role role) {
    const TrafficRequest& traffic = traffic_[i];
    if (role == Role::kPrefill && traffic.output > 1) {
      const double bytes = options_.model.cache_bytes() * traffic.input;
      post({now_ + options_.transfer_latency + bytes / options_.transfer_bandwidth, Kind::kTransfer, i});
      return;
    }
    RequestOutcome& request = outcome_.requests[i];
    request.finished = true;
    request.token_time = traffic.output > 1 ? (now_ - request.arrival - request.first_token) / (traffic.output - 1) : 0;
    if (traffic.output > 1) token_times_.push_back(request.token_time);
    outcome_.output_tokens += traffic.output;
    finished_output_ += traffic.output;
    router_->done(flights_[i].id, {.prompt_tokens = traffic.input, .output_tokens = traffic.output});
    ++ended_;
  }

  void refresh() {
    if (refreshed_ >= 0 && now_ - refreshed_ < options_.state_age) return;
    refreshed_ = now_;
    for (router::Endpoint& endpoint : endpoints_) {
      const auto [g, r] = places_.at(endpoint.id.name);
      const Rank& rank = groups_[g]->rank(r);
      endpoint.state.waiting = static_cast<double>(rank.waiting());
      endpoint.state.running = static_cast<double>(rank.running());
      endpoint.state.kv_usage = rank.cache_use();
      endpoint.state.seen = clock_.now();
    }
  }

  // Scale.

  ClusterView view() {
    ClusterView view{.now = now_, .interval = options_.interval, .requests = arrived_, .input_tokens = input_, .output_tokens = output_,
                     .started = static_cast<double>(first_tokens_.size()), .finished_output = std::exchange(finished_output_, 0),
                     .first_tokens = std::exchange(first_tokens_, {}), .token_times = std::exchange(token_times_, {})};
    for (int r = 0; r < kRoles; ++r) {
      if (options_.layout.of(static_cast<Role>(r))) view.roles[static_cast<std::size_t>(r)].ranks = options_.layout.of(static_cast<Role>(r))->ranks;
    }
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      if (gone_[g]) continue;
      RoleView& role = view.roles[static_cast<std::size_t>(groups_[g]->role())];
      ++(groups_[g]->draining ? role.draining : ready_[g] ? role.ready : role.starting);
      if (!ready_[g] || groups_[g]->draining) continue;
      for (int rank = 0; rank < groups_[g]->ranks(); ++rank) {
        role.waiting += static_cast<double>(groups_[g]->rank(rank).waiting());
        role.running += static_cast<double>(groups_[g]->rank(rank).running());
        role.cache_use += groups_[g]->rank(rank).cache_use();
      }
      role.waiting += static_cast<double>(pending_[g].size());
    }
    for (std::size_t r = 0; r < kRoles; ++r) {
      RoleView& role = view.roles[r];
      if (role.ready > 0) {
        role.cache_use /= role.ready * role.ranks;
        role.busy = std::min(1.0, busy_[r] / (options_.interval * role.ready));
      }
      role.step_tokens = step_tokens_[r];
      role.step_prompt_tokens = step_prompts_[r];
      busy_[r] = step_tokens_[r] = step_prompts_[r] = 0;
    }
    arrived_ = input_ = output_ = 0;
    return view;
  }

  void scale() {
    const Targets targets = scaler_(view());
    for (int r = 0; r < kRoles; ++r) {
      const auto& target = targets[static_cast<std::size_t>(r)];
      if (target && options_.layout.of(static_cast<Role>(r))) scale_role(static_cast<Role>(r), std::max(1, *target));
    }
    note_scale();
    post({now_ + options_.interval, Kind::kScale});
  }

  void scale_role(Role role, int target) {
    std::vector<std::size_t> live;
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      if (groups_[g]->role() == role && !gone_[g] && !groups_[g]->draining) live.push_back(g);
    }
    for (auto count = static_cast<int>(live.size()); count < target; ++count) {
      add_group(role);
      post({now_ + options_.startup, Kind::kReady, groups_.size() - 1});
    }
    // The youngest go first: those that still start cost nobody a request.
    for (auto count = static_cast<int>(live.size()); count > target; --count) drain(live[static_cast<std::size_t>(count - 1)]);
  }

  void note_scale() {
    ScalePoint point{.at = now_};
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      if (!gone_[g] && !groups_[g]->draining) ++point.groups[static_cast<std::size_t>(groups_[g]->role())];
    }
    outcome_.scale.push_back(point);
  }

  void finish() {
    outcome_.seconds = now_;
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      if (!gone_[g]) account(g, now_);
    }
    for (std::size_t r = 0; r < kRoles; ++r) {
      RoleOutcome& role = outcome_.roles[r];
      role.least = outcome_.scale.front().groups[r];
      for (const ScalePoint& point : outcome_.scale) {
        role.most = std::max(role.most, point.groups[r]);
        role.least = std::min(role.least, point.groups[r]);
      }
    }
  }

  const ClusterOptions& options_;
  const std::span<const TrafficRequest> traffic_;
  const Scaler& scaler_;
  prefix::BlockHasher hasher_;
  SimulationClock clock_;
  std::unique_ptr<router::Router> router_;
  std::array<GroupModel, kRoles> models_;
  std::vector<std::unique_ptr<Group>> groups_;
  std::vector<bool> ready_, gone_;
  std::unordered_map<std::size_t, std::vector<std::pair<int, Job>>> pending_;  // by group: for its next step
  std::vector<router::Endpoint> endpoints_;
  std::unordered_map<std::string, std::pair<std::size_t, int>> places_;
  std::priority_queue<Event> events_;
  std::uint64_t order_ = 0;
  std::vector<Flight> flights_;
  std::vector<std::size_t> homeless_;
  double now_ = 0, refreshed_ = -1;
  std::size_t ended_ = 0;
  double arrived_ = 0, input_ = 0, output_ = 0, finished_output_ = 0;  // since the last decision about scale
  std::array<double, kRoles> busy_{}, step_tokens_{}, step_prompts_{};
  std::vector<double> first_tokens_, token_times_;
  ClusterOutcome outcome_;
};

}  // namespace

Result<ClusterOutcome> simulate(const ClusterOptions& options, std::span<const TrafficRequest> traffic, const Scaler& scaler) {
  return Simulation(options, traffic, scaler).run();
}

}  // namespace braid::planning
