// SPDX-License-Identifier: Apache-2.0
#include "router/router.h"

#include <algorithm>
#include <unordered_map>

#include "router/endpoint_table.h"
#include "router/pipeline.h"

namespace braid::router {
namespace {

constexpr std::string_view kDestination = "x-gateway-destination-endpoint";

bool in_subset(const Endpoint& endpoint, const std::vector<std::string>& subset) {
  if (subset.empty()) return true;
  return std::any_of(subset.begin(), subset.end(), [&](const std::string& allowed) {
    return allowed == endpoint.id.address || allowed == endpoint.id.host_port();
  });
}

std::string host_ports(const std::vector<Target>& targets) {
  std::string text;
  for (const Target& target : targets) text += (text.empty() ? "" : ",") + target.id.host_port();
  return text;
}

// Whether another endpoint listens on the same port, so that the rank must be named.
bool shares_port(const Endpoint& endpoint, std::span<const Endpoint> endpoints) {
  return std::any_of(endpoints.begin(), endpoints.end(), [&](const Endpoint& other) {
    return other.id.rank != endpoint.id.rank && other.id.port == endpoint.id.port && other.id.address == endpoint.id.address;
  });
}

}  // namespace

struct Router::Impl {
  struct Flight {
    std::string model;
    TimePoint received{};
    bool streaming = false;
    bool started = false;
    int priority = 0;
  };

  Impl(const PickerConfig& config, RouterParts parts) : config(config), parts(std::move(parts)), random(this->parts.seed) {}

  PickerConfig config;
  RouterParts parts;
  Pipeline pipeline;
  EndpointTable table;
  Random random;
  std::unordered_map<FlightId, Flight> flights;
  FlightId last_flight = 0;

  void choose_model(const RoutedRequest& request, Decision& decision);
  void run(const RoutedRequest& request, std::span<const Endpoint> endpoints, Decision& decision);
  void finish(const RoutedRequest& request, Context& context, Decision& decision);
  void count(const RoutedRequest& request, const Decision& decision);
};

void Router::Impl::choose_model(const RoutedRequest& request, Decision& decision) {
  decision.model = request.model;
  if (!request.model_override.empty()) {
    decision.model = request.model_override;
    decision.rewrite_rule = "header";
  } else if (const RewriteRule* rule = parts.resources.rule_for(request.model); rule != nullptr && !request.model.empty()) {
    decision.model = choose_target(*rule, random.next()).model;
    decision.rewrite_rule = rule->name;
  }
  decision.data->model = decision.model;
}

void Router::Impl::run(const RoutedRequest& request, std::span<const Endpoint> endpoints, Decision& decision) {
  decision.data = std::make_shared<RequestData>();
  decision.data->prefixes.resize(pipeline.prefixes.size());
  decision.data->looked_up.resize(pipeline.prefixes.size());
  choose_model(request, decision);
  std::vector<Slot> slots;
  std::vector<EndpointIndex> candidates;
  slots.reserve(endpoints.size());
  candidates.reserve(endpoints.size());
  decision.endpoints.reserve(endpoints.size());
  for (const Endpoint& endpoint : endpoints) {
    if (in_subset(endpoint, request.subset)) candidates.push_back(static_cast<EndpointIndex>(slots.size()));
    slots.push_back(table.slot(endpoint.id.name));
    decision.endpoints.push_back(endpoint.id.name);
  }
  if (candidates.empty()) {
    decision.refusal = Refusal{503, dropped::kNoEndpoints,
                               endpoints.empty() ? "the pool has no endpoints" : "no endpoint is in the subset that the request allows", 1};
    return;
  }
  Context context{request, endpoints, slots, candidates, *decision.data, random, parts.clock->now()};
  pipeline.handler->run(context, decision);
  if (!decision.refusal) finish(request, context, decision);
}

void Router::Impl::finish(const RoutedRequest& request, Context& context, Decision& decision) {
  const EndpointIndex primary = decision.primary().index;
  if (request.if_available) {
    bool cached = false;
    for (PrefixProducer* producer : pipeline.prefixes) {
      cached = cached || producer->match(context).blocks[static_cast<std::size_t>(primary)] > 0;
    }
    if (!cached) {
      decision.refusal = Refusal{412, "", "Prefer: if-available, and " + context.at(primary).id.name + " has no part of the prompt cached", {}};
      return;
    }
  }
  decision.request_headers.emplace_back(kDestination, host_ports(decision.decode));
  if (!decision.prefill.empty()) decision.request_headers.emplace_back("x-prefiller-host-port", host_ports(decision.prefill));
  if (shares_port(context.at(primary), context.endpoints)) {
    decision.request_headers.emplace_back("x-data-parallel-rank", std::to_string(decision.primary().id.rank));
  }
}

void Router::Impl::count(const RoutedRequest& request, const Decision& decision) {
  Metrics* metrics = parts.metrics;
  if (metrics == nullptr) return;
  metrics->scheduler_duration.observe(to_seconds(decision.spent));
  metrics->scheduler_attempts.with({decision.ok() ? "success" : "failure", decision.model, decision.ok() ? decision.primary().id.name : ""}).add();
  if (!decision.rewrite_rule.empty()) metrics->rewrite_decisions.with({decision.rewrite_rule, request.model, decision.model}).add();
  if (decision.disaggregation.outcome == Disaggregation::kNoEndpoint) metrics->prefill_missing.add();
  if (!decision.ok()) return;
  if (decision.disaggregation.outcome != Disaggregation::kNotConfigured) {
    metrics->disaggregation.with({decision.prefill.empty() ? "decode-only" : "prefill-decode"}).add();
  }
  for (std::size_t i = 0; i < decision.data->prefixes.size(); ++i) {
    const PrefixMatch& match = decision.data->prefixes[i];
    if (!decision.data->looked_up[i] || match.keys.empty()) continue;
    const int blocks = match.blocks[static_cast<std::size_t>(decision.primary().index)];
    metrics->prefix_hit_ratio.observe(static_cast<double>(blocks) / match.total());
    metrics->prefix_hit_bytes.observe(static_cast<double>(blocks) * match.block_size * 4);
  }
}

Router::Router(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Router::~Router() = default;

Result<std::unique_ptr<Router>> Router::make(const PickerConfig& config, RouterParts parts) {
  CHECK(parts.clock != nullptr, "a router needs a clock");
  auto impl = std::make_unique<Impl>(config, std::move(parts));
  RETURN_IF_ERROR(impl->pipeline.build(config));
  return std::unique_ptr<Router>(new Router(std::move(impl)));
}

void Router::complete(RoutedRequest& request) const {
  const auto found = impl_->parts.resources.objectives.find(request.objective);
  if (found != impl_->parts.resources.objectives.end()) request.priority = found->second;
}

Decision Router::decide(const RoutedRequest& request, std::span<const Endpoint> endpoints) {
  const TimePoint start = impl_->parts.clock->now();
  Decision decision;
  impl_->run(request, endpoints, decision);
  decision.spent = impl_->parts.clock->now() - start;
  impl_->count(request, decision);
  return decision;
}

Router::Submission Router::submit(std::shared_ptr<RoutedRequest> request, std::span<const Endpoint> endpoints) {
  complete(*request);
  return {decide(*request, endpoints), 0};
}

std::vector<Settled> Router::poll(std::span<const Endpoint>) { return {}; }
std::optional<TimePoint> Router::next_wake() const { return std::nullopt; }
void Router::cancel(Ticket) {}
std::vector<Settled> Router::shut_down() { return {}; }
std::vector<FlightId> Router::take_evictions() { return {}; }

FlightId Router::sent(const RoutedRequest& request, const Decision& decision) {
  const FlightId flight = ++impl_->last_flight;
  impl_->flights[flight] = {decision.model, request.received, request.facts.streaming, false, request.priority};
  Sent sent{flight, request, *decision.data};
  sent.now = impl_->parts.clock->now();
  const auto slot_of = [&](EndpointIndex index) { return impl_->table.find(decision.endpoints[static_cast<std::size_t>(index)]); };
  sent.decode_index = decision.primary().index;
  sent.decode = slot_of(sent.decode_index);
  sent.decode_name = decision.endpoints[static_cast<std::size_t>(sent.decode_index)];
  if (!decision.prefill.empty()) {
    sent.prefill_index = decision.prefill.front().index;
    sent.prefill = slot_of(sent.prefill_index);
  }
  for (const auto& plugin : impl_->pipeline.plugins.all()) plugin->sent(sent);
  if (impl_->parts.metrics != nullptr) impl_->parts.metrics->requests_running.with({decision.model}).add(1);
  return flight;
}

void Router::first_chunk(FlightId flight) {
  const auto found = impl_->flights.find(flight);
  if (found == impl_->flights.end() || found->second.started) return;
  found->second.started = true;
  for (const auto& plugin : impl_->pipeline.plugins.all()) plugin->first_chunk(flight);
  if (impl_->parts.metrics == nullptr) return;
  impl_->parts.metrics->time_to_first_token.with({found->second.model, found->second.streaming ? "true" : "false"})
      .observe(to_seconds(impl_->parts.clock->now() - found->second.received));
}

void Router::chunk(FlightId, std::int64_t) {}

void Router::done(FlightId flight, const ResponseFacts& facts) {
  const auto found = impl_->flights.find(flight);
  if (found == impl_->flights.end()) return;
  for (const auto& plugin : impl_->pipeline.plugins.all()) plugin->done(flight);
  if (Metrics* metrics = impl_->parts.metrics) {
    const std::string& model = found->second.model;
    metrics->requests_running.with({model}).add(-1);
    metrics->request_duration.with({model, model}).observe(to_seconds(impl_->parts.clock->now() - found->second.received));
    if (facts.status >= 400) metrics->request_errors.with({model, model, std::to_string(facts.status)}).add();
    if (facts.prompt_tokens > 0) metrics->input_tokens.with({model}).observe(static_cast<double>(facts.prompt_tokens));
    if (facts.output_tokens > 0) metrics->output_tokens.with({model}).observe(static_cast<double>(facts.output_tokens));
    if (facts.prompt_tokens > 0) metrics->cached_tokens.with({model}).observe(static_cast<double>(facts.cached_tokens));
  }
  impl_->flights.erase(found);
}

void Router::remove_endpoint(std::string_view name) {
  const Slot slot = impl_->table.find(name);
  if (slot == kNoSlot) return;
  for (const auto& plugin : impl_->pipeline.plugins.all()) plugin->endpoint_removed(slot, name);
  impl_->table.remove(name);
}

void Router::restarted(std::string_view name) {
  const Slot slot = impl_->table.find(name);
  if (slot == kNoSlot) return;
  for (const auto& plugin : impl_->pipeline.plugins.all()) plugin->endpoint_restarted(slot, name);
}

KvFeed* Router::kv_feed() { return nullptr; }
std::optional<TokenSource> Router::token_source() const { return std::nullopt; }

std::vector<std::string> Router::missing_signals(std::span<const Endpoint> endpoints) const {
  std::vector<std::string> missing;
  for (const Endpoint& endpoint : endpoints) {
    if (!endpoint.state.seen) missing.push_back("endpoint " + endpoint.id.name + " has never reported its load");
  }
  return missing;
}

void Router::observe(std::span<const Endpoint> endpoints) {
  Metrics* metrics = impl_->parts.metrics;
  if (metrics == nullptr) return;
  const auto mean = [&](auto get) {
    double sum = 0;
    int count = 0;
    for (const Endpoint& endpoint : endpoints) {
      if (const auto value = get(endpoint.state)) sum += *value, ++count;
    }
    return count == 0 ? 0.0 : sum / count;
  };
  metrics->average_queue.set(mean([](const EndpointState& s) { return s.waiting; }));
  metrics->average_running.set(mean([](const EndpointState& s) { return s.running; }));
  metrics->average_kv_usage.set(mean([](const EndpointState& s) { return s.kv_usage; }));
  metrics->ready_endpoints.set(static_cast<double>(endpoints.size()));
  metrics->unknown_endpoints.set(static_cast<double>(
      std::count_if(endpoints.begin(), endpoints.end(), [](const Endpoint& e) { return !e.state.seen.has_value(); })));
  for (const Endpoint& endpoint : endpoints) {
    if (endpoint.state.waiting) metrics->endpoint_queue.with({endpoint.id.name}).set(*endpoint.state.waiting);
  }
}

const PickerConfig& Router::config() const { return impl_->config; }

std::string Router::state_json() const { return "{\"in_flight\":" + std::to_string(impl_->flights.size()) + "}"; }

}  // namespace braid::router
