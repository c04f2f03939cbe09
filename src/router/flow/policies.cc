// SPDX-License-Identifier: Apache-2.0
#include "router/flow/policies.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <unordered_map>

#include "router/catalog.h"
#include "router/in_flight.h"

namespace braid::router {

StageSaturation saturation_of(const SaturationDetector& detector,
                              std::span<const Endpoint> endpoints,
                              std::span<const Slot> slots,
                              const Underway& underway) {
  if (endpoints.empty()) return {0, 1};
  std::vector<EndpointIndex> prefill, decode;
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    const Roles roles = roles_of(endpoints[i].labels);
    if (roles.prefill) prefill.push_back(static_cast<EndpointIndex>(i));
    if (roles.decode) decode.push_back(static_cast<EndpointIndex>(i));
  }
  const auto of = [&](const std::vector<EndpointIndex>& places, double otherwise) {
    return places.empty() ? otherwise : detector.saturation(endpoints, slots, places, underway);
  };
  return {of(prefill, 0), of(decode, 1)};
}

namespace {

std::int64_t nanoseconds(TimePoint time) { return time.time_since_epoch().count(); }

class FirstCome final : public Plugin, public OrderingPolicy {
 public:
  using Parameters = NoParameters;
  explicit FirstCome(Parameters) {}
  std::int64_t key(const WaitingRequest&) const override { return 0; }
};

class EarliestDeadline final : public Plugin, public OrderingPolicy {
 public:
  using Parameters = NoParameters;
  explicit EarliestDeadline(Parameters) {}
  std::int64_t key(const WaitingRequest& waiting) const override {
    return waiting.deadline ? nanoseconds(*waiting.deadline) : INT64_MAX;
  }
};

class FirstTokenDeadline final : public Plugin, public OrderingPolicy {
 public:
  using Parameters = NoParameters;
  explicit FirstTokenDeadline(Parameters) {}
  std::int64_t key(const WaitingRequest& waiting) const override {
    const RoutedRequest& request = *waiting.request;
    if (!request.slo_ttft_ms) return INT64_MAX;
    return nanoseconds(request.received) + static_cast<std::int64_t>(std::min(*request.slo_ttft_ms, 1e12) * 1e6);
  }
};

class GlobalStrict final : public Plugin, public FairnessPolicy {
 public:
  using Parameters = NoParameters;
  explicit GlobalStrict(Parameters) {}
  std::size_t pick(std::span<const Flow> flows, const std::string&, TimePoint) override {
    const auto first = std::min_element(flows.begin(), flows.end(), [](const Flow& a, const Flow& b) {
      return std::pair(a.key, a.head->ticket) < std::pair(b.key, b.head->ticket);
    });
    return static_cast<std::size_t>(first - flows.begin());
  }
};

class RoundRobin final : public Plugin, public FairnessPolicy {
 public:
  using Parameters = NoParameters;
  explicit RoundRobin(Parameters) {}
  std::size_t pick(std::span<const Flow> flows, const std::string& last, TimePoint) override {
    for (std::size_t i = 0; i < flows.size(); ++i) {
      if (*flows[i].id > last) return i;
    }
    return 0;
  }
};

// Least attained service: the flow that has been given least lately, and whose head has waited long.
class ProgramAware final : public Plugin, public FairnessPolicy {
 public:
  struct Parameters {
    double service = 0.8, wait = 0.2, half_life = 60, ttl = 3600, sweep = 300;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("lasWeightService", self.service, {.help = "Weight of the service a program has had", .min = 0});
      v.field("lasWeightHeadWait", self.wait, {.help = "Weight of its oldest request's wait", .min = 0});
      v.field("lasHalfLifeSeconds", self.half_life, {.help = "Half-life of service", .unit = "s", .min = 0.001});
      v.field("evictionTtlSeconds", self.ttl, {.help = "A program idle for so long is forgotten", .unit = "s", .min = 1});
      v.field("evictionSweepSeconds", self.sweep, {.help = "How often that is looked at", .unit = "s", .min = 1});
    }
  };
  explicit ProgramAware(Parameters parameters) : parameters_(parameters) {}

  std::size_t pick(std::span<const Flow> flows, const std::string&, TimePoint now) override {
    sweep(now);
    double most_service = 0, longest = 0;
    for (const Flow& flow : flows) {
      most_service = std::max(most_service, service(*flow.id, now));
      longest = std::max(longest, to_seconds(now - flow.head->enqueued));
    }
    std::size_t best = 0;
    double best_score = -1;
    for (std::size_t i = 0; i < flows.size(); ++i) {
      const double unserved = most_service > 0 ? 1 - service(*flows[i].id, now) / most_service : 1;
      const double waited = longest > 0 ? to_seconds(now - flows[i].head->enqueued) / longest : 0;
      const double score = parameters_.service * unserved + parameters_.wait * waited;
      if (score > best_score) best = i, best_score = score;
    }
    return best;
  }

  void sent(const Sent& sent) override { flights_[sent.flight] = {sent.request.fairness_id, sent.request.prompt_tokens()}; }
  void done(FlightNumber flight, const ResponseFacts& facts, TimePoint now) override {
    const auto found = flights_.find(flight);
    if (found == flights_.end()) return;
    const std::int64_t prompt = facts.prompt_tokens > 0 ? facts.prompt_tokens : found->second.prompt_tokens;
    Program& program = programs_[found->second.program];
    program.service = decayed(program, now) + static_cast<double>(prompt + 2 * facts.output_tokens);
    program.updated = now;
    flights_.erase(found);
  }

 private:
  struct Program {
    double service = 0;
    TimePoint updated{};
  };
  struct Flight {
    std::string program;
    std::int64_t prompt_tokens;
  };

  double decayed(const Program& program, TimePoint now) const {
    return program.service * std::exp2(-to_seconds(now - program.updated) / parameters_.half_life);
  }
  double service(const std::string& id, TimePoint now) const {
    const auto found = programs_.find(id);
    return found == programs_.end() ? 0 : decayed(found->second, now);
  }
  void sweep(TimePoint now) {
    if (to_seconds(now - swept_) < parameters_.sweep) return;
    swept_ = now;
    std::erase_if(programs_, [&](const auto& each) { return to_seconds(now - each.second.updated) > parameters_.ttl; });
  }

  Parameters parameters_;
  std::unordered_map<std::string, Program> programs_;
  std::unordered_map<FlightNumber, Flight> flights_;
  TimePoint swept_{};
};

class StaticLimit final : public Plugin, public UsageLimit {
 public:
  struct Parameters {
    double threshold = 1;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("threshold", self.threshold, {.help = "Saturation from which on no band dispatches", .min = 0});
    }
  };
  explicit StaticLimit(Parameters parameters) : threshold_(parameters.threshold) {}
  double ceiling(const Band&, double) override { return threshold_; }

 private:
  double threshold_;
};

class PriorityHoldback final : public Plugin, public UsageLimit {
 public:
  struct Parameters {
    std::optional<double> least;
    double most = 1;
    std::string domain = "rank";

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("minCeiling", self.least, {.help = "Ceiling of the least urgent band; needed", .min = 0, .max = 1});
      v.field("maxCeiling", self.most, {.help = "Ceiling of the most urgent band", .min = 0});
      v.field("domain", self.domain, {.help = "rank: even steps from band to band; value: by the priorities themselves", .choices = {"rank", "value"}});
    }
  };
  explicit PriorityHoldback(Parameters parameters) : parameters_(std::move(parameters)) {}

  Status connect(Plugins&) override {
    if (!parameters_.least) return parameters.error("minCeiling is missing");
    if (*parameters_.least > parameters_.most) return parameters.error("minCeiling is above maxCeiling", "minCeiling");
    return {};
  }
  double ceiling(const Band& band, double) override {
    double share = 0;  // 0: most urgent, 1: least
    if (parameters_.domain == "rank" && band.count > 1) share = static_cast<double>(band.rank) / static_cast<double>(band.count - 1);
    if (parameters_.domain == "value" && band.highest > band.lowest) {
      share = (static_cast<double>(band.highest) - band.priority) / (static_cast<double>(band.highest) - band.lowest);
    }
    return parameters_.most - share * (parameters_.most - *parameters_.least);
  }

 private:
  Parameters parameters_;
};

// Holds less urgent bands back the more, the fuller the pool is, but lets all through now and then:
// once in round(saturation / (1 - saturation)) rounds.
class SoftReflective final : public Plugin, public UsageLimit {
 public:
  using Parameters = NoParameters;
  explicit SoftReflective(Parameters) {}
  double ceiling(const Band& band, double saturation) override {
    if (band.count < 2 || saturation >= 1) return 1;
    const auto period = static_cast<std::uint64_t>(std::llround(saturation / (1 - saturation)));
    if (period > 0 && round_ % period == 0) return 1;
    return 1 - static_cast<double>(band.rank) * saturation / static_cast<double>(band.count - 1);
  }
  void next_round() override { ++round_; }

 private:
  std::uint64_t round_ = 0;
};

void keep_or_all(std::vector<EndpointIndex>& candidates, std::string& note, const std::function<bool(EndpointIndex)>& keep) {
  std::vector<EndpointIndex> kept;
  std::copy_if(candidates.begin(), candidates.end(), std::back_inserter(kept), keep);
  if (kept.empty()) {
    note = "all are saturated, so all stay";
  } else {
    candidates = std::move(kept);
  }
}

class UtilizationDetector final : public Plugin, public SaturationDetector, public Filter {
 public:
  struct Parameters {
    double queue = 5, cache = 0.8, headroom = 0;
    std::optional<DurationText> staleness;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("queueDepthThreshold", self.queue, {.help = "Waiting requests of a full endpoint", .min = 1});
      v.field("kvCacheUtilThreshold", self.cache, {.help = "Cache use of a full endpoint", .min = 0.001, .max = 1});
      v.duration("metricsStalenessThreshold", self.staleness, "An endpoint whose newest report is older is counted in llm_d_epp_flow_control_stale_endpoints; its values hold until newer ones come. 200ms if unset");
      v.field("headroom", self.headroom, {.help = "As a filter: share beyond the thresholds that still passes", .min = 0});
    }
  };
  explicit UtilizationDetector(Parameters parameters) : parameters_(parameters) {}

  double saturation(std::span<const Endpoint> endpoints, std::span<const Slot>, std::span<const EndpointIndex> places, const Underway&) const override {
    double sum = 0;
    int known = 0;
    for (const EndpointIndex place : places) {
      const EndpointState& state = endpoints[static_cast<std::size_t>(place)].state;
      if (!state.waiting && !state.kv_usage) continue;
      sum += std::max(state.waiting.value_or(0) / parameters_.queue, state.kv_usage.value_or(0) / parameters_.cache);
      ++known;
    }
    return known == 0 ? 0 : sum / known;
  }
  int stale(std::span<const Endpoint> endpoints, TimePoint now) const override {
    const Duration oldest = parameters_.staleness ? parameters_.staleness->value : Duration(std::chrono::milliseconds(200));
    return static_cast<int>(std::count_if(endpoints.begin(), endpoints.end(), [&](const Endpoint& e) { return !e.state.seen || now - *e.state.seen > oldest; }));
  }
  void filter(Context& context, std::vector<EndpointIndex>& candidates, std::string& note) override {
    keep_or_all(candidates, note, [&](EndpointIndex i) {
      const EndpointState& state = context.at(i).state;
      return state.waiting.value_or(0) < parameters_.queue * (1 + parameters_.headroom) &&
             state.kv_usage.value_or(0) < parameters_.cache * (1 + parameters_.headroom);
    });
  }

 private:
  Parameters parameters_;
};

class ConcurrencyDetector final : public Plugin, public SaturationDetector, public Filter {
 public:
  struct Parameters {
    std::string mode = "requests";
    double requests = 100, tokens = 1e6, headroom = 0;
    std::string in_flight;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("concurrencyMode", self.mode, {.help = "requests, tokens or hybrid (the larger share of the two)", .choices = {"requests", "tokens", "hybrid"}});
      v.field("maxConcurrency", self.requests, {.help = "Requests in flight of a full endpoint", .min = 1});
      v.field("maxTokenConcurrency", self.tokens, {.help = "Tokens in flight of a full endpoint", .min = 1});
      v.field("headroom", self.headroom, {.help = "As a filter: share beyond that which still passes", .min = 0});
      v.field("inFlightLoadProducerName", self.in_flight, {.help = "Which inflight-load-producer counts"});
    }
  };
  explicit ConcurrencyDetector(Parameters parameters) : parameters_(std::move(parameters)) {}

  Status connect(Plugins& plugins) override { return connect_in_flight(plugins, *this, parameters_.in_flight, load_); }

  double saturation(std::span<const Endpoint>, std::span<const Slot> slots, std::span<const EndpointIndex> places, const Underway& underway) const override {
    const auto count = static_cast<double>(places.size());
    double requests = static_cast<double>(underway.requests), tokens = static_cast<double>(underway.tokens), hybrid = 0;
    for (const EndpointIndex place : places) {
      const Slot slot = slots[static_cast<std::size_t>(place)];
      requests += static_cast<double>(load_->requests(slot));
      tokens += static_cast<double>(load_->tokens(slot));
      hybrid += share_of(slot);
    }
    const double by_requests = requests / (count * parameters_.requests), by_tokens = tokens / (count * parameters_.tokens);
    if (parameters_.mode == "requests") return by_requests;
    if (parameters_.mode == "tokens") return by_tokens;
    const double waiting = std::max(static_cast<double>(underway.requests) / parameters_.requests, static_cast<double>(underway.tokens) / parameters_.tokens);
    return (hybrid + waiting) / count;
  }
  void filter(Context& context, std::vector<EndpointIndex>& candidates, std::string& note) override {
    keep_or_all(candidates, note, [&](EndpointIndex i) { return share_of(context.slot(i)) < 1 + parameters_.headroom; });
  }

 private:
  double share_of(Slot slot) const {
    const double requests = static_cast<double>(load_->requests(slot)) / parameters_.requests;
    const double tokens = static_cast<double>(load_->tokens(slot)) / parameters_.tokens;
    if (parameters_.mode == "requests") return requests;
    return parameters_.mode == "tokens" ? tokens : std::max(requests, tokens);
  }

  Parameters parameters_;
  InFlightLoad* load_ = nullptr;
};

class ProbabilisticAdmitter final : public Plugin, public Admitter {
 public:
  using Parameters = NoParameters;
  explicit ProbabilisticAdmitter(Parameters) {}
  std::optional<Refusal> refuses(const RoutedRequest& request, double saturation, Random& random) override {
    if (request.priority >= 0) return std::nullopt;
    const double chance = std::min(std::pow(saturation, 5) * 300, 1.0);
    if (chance < 1 && random.uniform() >= chance) return std::nullopt;
    return Refusal{429, dropped::kSaturated, "the pool is too busy for a request of priority " + std::to_string(request.priority), 1};
  }
};

constexpr PluginType kTypes[] = {
    plugin_type<FirstCome>("fcfs-ordering-policy", "In order of arrival."),
    plugin_type<EarliestDeadline>("edf-ordering-policy", "What expires first."),
    plugin_type<FirstTokenDeadline>("slo-deadline-ordering-policy", "Whose first token is due first (arrival + x-llm-d-slo-ttft-ms); requests without the header last."),
    plugin_type<GlobalStrict>("global-strict-fairness-policy", "All flows of a band as one, by the ordering."),
    plugin_type<RoundRobin>("round-robin-fairness-policy", "One flow after another."),
    plugin_type<ProgramAware>("program-aware-fairness", "Least attained service: lasWeightService * (1 - service / most) + lasWeightHeadWait * wait / longest; service = prompt + 2 * output tokens, decaying."),
    plugin_type<StaticLimit>("static-usage-limit-policy", "One ceiling for all bands."),
    plugin_type<PriorityHoldback>("priority-holdback-policy", "Ceilings from maxCeiling for the most urgent band down to minCeiling, linear."),
    plugin_type<SoftReflective>("soft-reflective-ceiling-policy", "1 - i * saturation / (n - 1) for the i-th band, and 1 once in round(saturation / (1 - saturation)) rounds."),
    plugin_type<UtilizationDetector>("utilization-detector", "Mean over the endpoints of max(waiting / queueDepthThreshold, cache use / kvCacheUtilThreshold). As a filter: endpoints below both."),
    plugin_type<ConcurrencyDetector>("concurrency-detector", "What is in flight over what the endpoints can take. As a filter: endpoints that can take more."),
    plugin_type<ProbabilisticAdmitter>("probabilistic-admitter", "Refuses requests of priority below 0 with probability min(300 * saturation^5, 1)."),
};

}  // namespace

std::span<const PluginType> flow_policies() { return kTypes; }

}  // namespace braid::router
