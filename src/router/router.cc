// SPDX-License-Identifier: Apache-2.0
#include "router/router.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <unordered_map>
#include <utility>

#include "router/admission.h"
#include "router/endpoint_table.h"
#include "router/in_flight.h"
#include "router/index/approximate.h"
#include "router/index/precise.h"
#include "router/pipeline.h"
#include "router/producers.h"
#include "router/request_metrics.h"
#include "router/scorers/session.h"

namespace braid::router {
namespace {

constexpr std::string_view kDestination = "x-gateway-destination-endpoint";
constexpr std::string_view kQueueDuration = "x-llm-d-flow-queue-duration-ms";

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
    int priority = 0;
    bool started = false;
    bool evicted = false;
    RequestMetrics::Flight counted;
  };

  Impl(const PickerConfig& config, RouterParts parts) : config(config), parts(std::move(parts)), random(this->parts.seed), counts(this->parts.metrics) {}

  PickerConfig config;
  RouterParts parts;
  Pipeline pipeline;
  EndpointTable table;
  Random random;
  RequestMetrics counts;
  Admission admission;
  std::unique_ptr<KvFeed> feed;
  KvFeedCounts counted;  // of the feed, already in the metrics
  PrecisePrefix* precise = nullptr;
  std::vector<InFlightLoad*> in_flight_loads;
  std::unordered_map<std::string, std::string> names_by_place;  // "host:port#rank" -> name
  std::set<std::string> sent_to;                                // endpoint names
  std::unordered_map<FlightId, Flight> flights;
  FlightId last_flight = 0;
  Ticket last_ticket = 0;
  std::vector<Settled> settled;  // not yet handed out
  bool pool_empty = false;
  bool shutting_down = false;
  std::set<std::pair<std::string, int>> reported_flows;

  void choose_model(const RoutedRequest& request, Decision& decision);
  void run(const RoutedRequest& request, std::span<const Endpoint> endpoints, Decision& decision);
  void finish(const RoutedRequest& request, Context& context, Decision& decision);
  void count(const RoutedRequest& request, const Decision& decision);
  Decision decide(const RoutedRequest& request, std::span<const Endpoint> endpoints);

  std::vector<Slot> slots_of(std::span<const Endpoint> endpoints);
  void advance(std::span<const Endpoint> endpoints);
  void settle(FlowControl::Dropped dropped);
  void count_wait(const char* outcome, Duration waited);

  void open_feed();
  Slot slot_of_source(const std::string& source, std::optional<int> rank);
  void observe_flow(Metrics& metrics, std::span<const Endpoint> endpoints);
  void observe_prefixes(Metrics& metrics);
};

namespace {

Decision refused(Refusal refusal) {
  Decision decision;
  decision.refusal = std::move(refusal);
  return decision;
}

}  // namespace

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
  if (admission.has_admitters() || (!admission.queues() && request.priority < 0)) {
    const double saturation = admission.saturation(endpoints, slots).effective();
    decision.refusal = admission.refuses(request, saturation, random);
    if (decision.refusal) return;
  }
  Context context{request, endpoints, slots, candidates, *decision.data, random, parts.clock->now()};
  context.clock = parts.clock;
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
  for (const auto& plugin : pipeline.plugins.all()) plugin->decided(context, decision);
  for (PrefixProducer* producer : pipeline.prefixes) {
    if (decision.data->looked_up[producer->index] && !decision.data->prefixes[producer->index].known) {
      decision.notes.push_back("prefix unknown to " + dynamic_cast<Plugin*>(producer)->name + ": the prompt has no token ids");
    }
  }
}

void Router::Impl::count(const RoutedRequest& request, const Decision& decision) {
  Metrics* metrics = parts.metrics;
  if (metrics == nullptr) return;
  metrics->scheduler_duration.observe(to_seconds(decision.spent));
  if (decision.ok()) {
    const EndpointId& id = decision.primary().id;
    metrics->scheduler_attempts.with({"success", decision.model, id.name, parts.name_space, std::to_string(id.port)}).add();
  } else {
    metrics->scheduler_attempts.with({"failure", decision.model, "", "", ""}).add();
  }
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
  RETURN_IF_ERROR(impl->admission.build(config, impl->pipeline));
  impl->pipeline.number_prefixes();
  if (impl->parts.metrics != nullptr) impl->pipeline.time_plugins(impl->parts.metrics->plugin_duration);
  impl->open_feed();
  for (const auto& plugin : impl->pipeline.plugins.all()) {
    if (auto* load = dynamic_cast<InFlightLoad*>(plugin.get())) impl->in_flight_loads.push_back(load);
  }
  return std::unique_ptr<Router>(new Router(std::move(impl)));
}

void Router::replace_resources(Resources resources) { impl_->parts.resources = std::move(resources); }

void Router::complete(RoutedRequest& request) const {
  const auto found = impl_->parts.resources.objectives.find(request.objective);
  if (found != impl_->parts.resources.objectives.end()) request.priority = found->second;
  if (request.fairness_id != "default-flow") return;
  for (const auto& plugin : impl_->pipeline.plugins.all()) {
    if (dynamic_cast<const AgentIdentity*>(plugin.get()) == nullptr) continue;
    const std::string_view id = AgentIdentity::id_of(request);
    if (!id.empty()) request.fairness_id = id;
  }
}

Decision Router::Impl::decide(const RoutedRequest& request, std::span<const Endpoint> endpoints) {
  const TimePoint start = parts.clock->now();
  Decision decision;
  run(request, endpoints, decision);
  decision.spent = parts.clock->now() - start;
  count(request, decision);
  return decision;
}

Decision Router::decide(const RoutedRequest& request, std::span<const Endpoint> endpoints) {
  return impl_->decide(request, endpoints);
}

std::vector<Slot> Router::Impl::slots_of(std::span<const Endpoint> endpoints) {
  std::vector<Slot> slots;
  slots.reserve(endpoints.size());
  for (const Endpoint& endpoint : endpoints) slots.push_back(table.slot(endpoint.id.name));
  return slots;
}

void Router::Impl::count_wait(const char* outcome, Duration waited) {
  if (parts.metrics != nullptr) parts.metrics->queue_duration.with({outcome}).observe(to_seconds(waited));
}

void Router::Impl::settle(FlowControl::Dropped dropped) {
  Settled& each = settled.emplace_back(Settled{dropped.waiting.ticket, refused(std::move(dropped.refusal))});
  each.decision.queued = parts.clock->now() - dropped.waiting.enqueued;
  each.decision.model = dropped.waiting.request->model;
  count_wait("rejected", each.decision.queued);
  counts.refused(*dropped.waiting.request, each.decision.refusal->status);
}

void Router::Impl::advance(std::span<const Endpoint> endpoints) {
  FlowControl* flow = admission.flow();
  if (flow == nullptr) return;
  const TimePoint now = parts.clock->now();
  pool_empty = endpoints.empty();
  for (FlowControl::Dropped& dropped : flow->expire(now, pool_empty)) settle(std::move(dropped));
  if (flow->waiting() == 0 || pool_empty) return;
  const std::vector<Slot> slots = slots_of(endpoints);
  flow->next_round();
  while (auto waiting = flow->dispatch(admission.saturation(endpoints, slots).effective(), now)) {
    Decision decision = decide(*waiting->request, endpoints);
    decision.queued = now - waiting->enqueued;
    if (decision.ok()) decision.data->underway = admission.count_underway(waiting->request->prompt_tokens());
    decision.response_headers.emplace_back(kQueueDuration, std::to_string(decision.queued.count() / 1000000));
    count_wait(decision.ok() ? "dispatched" : "rejected", decision.queued);
    if (!decision.ok()) counts.refused(*waiting->request, decision.refusal->status);
    settled.push_back({waiting->ticket, std::move(decision)});
  }
  if (parts.metrics != nullptr) parts.metrics->dispatch_cycle.observe(to_seconds(parts.clock->now() - now));
}

Router::Submission Router::submit(std::shared_ptr<RoutedRequest> request, std::span<const Endpoint> endpoints) {
  complete(*request);
  impl_->counts.received(*request);
  if (impl_->shutting_down || !impl_->admission.queues()) {
    Decision decision = impl_->shutting_down ? refused({503, dropped::kShuttingDown, "the router is shutting down", 1}) : impl_->decide(*request, endpoints);
    if (!decision.ok()) impl_->counts.refused(*request, decision.refusal->status);
    return {std::move(decision), 0};
  }
  return submit_again(std::move(request), endpoints);
}

bool Router::has_flow_control() const { return impl_->admission.queues(); }

Router::Submission Router::submit_again(std::shared_ptr<RoutedRequest> request, std::span<const Endpoint> endpoints) {
  CHECK(has_flow_control(), "nothing waits without flow control");
  const Ticket ticket = ++impl_->last_ticket;
  std::vector<FlowControl::Dropped> dropped;
  const TimePoint now = impl_->parts.clock->now();
  impl_->admission.flow()->enqueue(ticket, std::move(request), now, dropped);
  if (Metrics* metrics = impl_->parts.metrics) metrics->enqueue_duration.observe(to_seconds(impl_->parts.clock->now() - now));
  for (FlowControl::Dropped& each : dropped) impl_->settle(std::move(each));
  impl_->advance(endpoints);
  auto& settled = impl_->settled;
  const auto own = std::find_if(settled.begin(), settled.end(), [&](const Settled& each) { return each.ticket == ticket; });
  if (own == settled.end()) return {std::nullopt, ticket};
  Submission submission{std::move(own->decision), 0};
  settled.erase(own);
  return submission;
}

std::vector<Settled> Router::poll(std::span<const Endpoint> endpoints) {
  impl_->advance(endpoints);
  return std::exchange(impl_->settled, {});
}

std::optional<TimePoint> Router::next_wake() const {
  if (!impl_->settled.empty()) return impl_->parts.clock->now();
  return impl_->admission.queues() ? impl_->admission.flow()->next_deadline(impl_->pool_empty) : std::nullopt;
}

void Router::cancel(Ticket ticket) {
  if (impl_->admission.queues()) impl_->admission.flow()->cancel(ticket);
  std::erase_if(impl_->settled, [&](const Settled& each) { return each.ticket == ticket; });
}

std::vector<Settled> Router::shut_down() {
  impl_->shutting_down = true;
  if (impl_->admission.queues()) {
    for (FlowControl::Dropped& dropped : impl_->admission.flow()->shut_down()) impl_->settle(std::move(dropped));
  }
  return std::exchange(impl_->settled, {});
}

std::vector<FlightId> Router::take_evictions() {
  std::vector<FlightId> taken;
  if (!impl_->admission.evicts() || impl_->admission.flow()->waiting() == 0) return taken;
  std::vector<std::pair<int, FlightId>> victims;
  std::size_t ending = 0;
  for (const auto& [id, flight] : impl_->flights) {
    ending += flight.evicted;
    if (flight.priority < 0 && !flight.evicted) victims.emplace_back(flight.priority, id);
  }
  std::sort(victims.begin(), victims.end(), [](const auto& a, const auto& b) { return a.first != b.first ? a.first < b.first : a.second > b.second; });
  for (const auto& [priority, id] : victims) {
    if (taken.size() + ending >= impl_->admission.flow()->waiting_above(priority)) break;
    impl_->flights[id].evicted = true;
    taken.push_back(id);
  }
  if (impl_->parts.metrics != nullptr) impl_->parts.metrics->evictions.add(static_cast<double>(taken.size()));
  return taken;
}

FlightId Router::sent(const RoutedRequest& request, const Decision& decision) {
  const FlightId flight = ++impl_->last_flight;
  decision.data->underway.reset();
  impl_->sent_to.insert(decision.primary().id.name);
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
  impl_->flights[flight] = {.priority = request.priority, .counted = impl_->counts.sent(request, decision.model, sent.now)};
  return flight;
}

void Router::first_chunk(FlightId flight) {
  const auto found = impl_->flights.find(flight);
  if (found == impl_->flights.end() || std::exchange(found->second.started, true)) return;
  const TimePoint now = impl_->parts.clock->now();
  for (const auto& plugin : impl_->pipeline.plugins.all()) plugin->first_chunk(flight, now);
  impl_->counts.first_chunk(found->second.counted, now);
}

void Router::chunk(FlightId flight, std::int64_t output_tokens) {
  const auto found = impl_->flights.find(flight);
  if (found != impl_->flights.end()) impl_->counts.chunk(found->second.counted, output_tokens, impl_->parts.clock->now());
}

void Router::done(FlightId flight, const ResponseFacts& facts) {
  const auto found = impl_->flights.find(flight);
  if (found == impl_->flights.end()) return;
  const TimePoint now = impl_->parts.clock->now();
  for (const auto& plugin : impl_->pipeline.plugins.all()) plugin->done(flight, facts, now);
  impl_->counts.done(found->second.counted, facts, now);
  impl_->flights.erase(found);
}

bool Router::counts_in_flight() const { return !impl_->in_flight_loads.empty(); }

std::vector<InFlight> Router::in_flight() const {
  std::vector<InFlight> all;
  for (const InFlightLoad* each : impl_->in_flight_loads) {
    impl_->table.for_each([&](const std::string& endpoint, Slot slot) {
      const InFlightLoad::Load load = each->own(slot);
      if (load.requests != 0 || load.tokens != 0) all.push_back({each->name, endpoint, load.requests, load.tokens});
    });
  }
  return all;
}

void Router::set_others(std::span<const InFlight> loads) {
  for (InFlightLoad* each : impl_->in_flight_loads) {
    each->clear_others();
    for (const InFlight& load : loads) {
      if (load.producer == each->name) each->add_others(impl_->table.slot(load.endpoint), {load.requests, load.tokens});
    }
  }
}

void Router::remove_endpoint(std::string_view name) {
  if (impl_->parts.metrics) impl_->parts.metrics->endpoint_queue.remove({std::string(name)});
  const Slot slot = impl_->table.find(name);
  if (slot == kNoSlot) return;
  for (const auto& plugin : impl_->pipeline.plugins.all()) plugin->endpoint_removed(slot, name);
  impl_->table.remove(name);
  impl_->sent_to.erase(std::string(name));
  std::erase_if(impl_->names_by_place, [&](const auto& each) { return each.second == name; });
  if (impl_->feed != nullptr) impl_->feed->remove(std::string(name));
}

void Router::restarted(std::string_view name) {
  const Slot slot = impl_->table.find(name);
  if (slot == kNoSlot) return;
  for (const auto& plugin : impl_->pipeline.plugins.all()) plugin->endpoint_restarted(slot, name);
}

void Router::Impl::open_feed() {
  for (const auto& plugin : pipeline.plugins.all()) {
    if (precise == nullptr) precise = dynamic_cast<PrecisePrefix*>(plugin.get());
  }
  if (precise == nullptr) return;
  const auto apply = [this](const std::string& source, const KvEventBatch& batch) {
    const Slot slot = slot_of_source(source, batch.rank);
    if (slot != kNoSlot) precise->apply(slot, batch);
  };
  const auto forget = [this](const std::string& source) {
    const Slot slot = slot_of_source(source, std::nullopt);
    if (slot != kNoSlot) precise->forget(slot);
  };
  feed = std::make_unique<KvFeed>(precise->feed_settings(), KvFeed::Sink{apply, forget});
}

// A source is an endpoint's name, or the address that its topic names.
Slot Router::Impl::slot_of_source(const std::string& source, std::optional<int> rank) {
  const Slot known = table.find(source);
  if (known != kNoSlot) return known;
  const auto place = names_by_place.find(source + "#" + std::to_string(rank.value_or(0)));
  return table.slot(place == names_by_place.end() ? source : place->second);
}

void Router::know_places(std::span<const EndpointId> endpoints) {
  impl_->names_by_place.clear();
  for (const EndpointId& id : endpoints) impl_->names_by_place[id.host_port() + "#" + std::to_string(id.rank)] = id.name;
}

KvFeed* Router::kv_feed() { return impl_->feed.get(); }

std::optional<TokenSource> Router::token_source() const {
  for (const auto& plugin : impl_->pipeline.plugins.all()) {
    const auto* tokens = dynamic_cast<const TokenProducer*>(plugin.get());
    if (tokens == nullptr || !tokens->settings.vllm) continue;
    TokenSource source{tokens->settings.vllm->url, tokens->settings.model};
    if (tokens->settings.vllm->timeout) source.timeout = tokens->settings.vllm->timeout->value;
    return source;
  }
  return std::nullopt;
}

std::vector<std::string> Router::missing_signals(std::span<const Endpoint> endpoints) const {
  std::vector<std::string> missing;
  for (const Endpoint& endpoint : endpoints) {
    if (!endpoint.state.seen) missing.push_back("endpoint " + endpoint.id.name + " has never reported its load");
    const bool silent = impl_->feed != nullptr && impl_->sent_to.contains(endpoint.id.name) && !impl_->feed->heard(endpoint.id.name) &&
                        !impl_->feed->heard(endpoint.id.host_port());
    if (silent) missing.push_back("endpoint " + endpoint.id.name + " has been sent requests and has never published a KV event");
  }
  if (impl_->precise != nullptr && impl_->precise->strangers() > 0) {
    missing.push_back("engines hash blocks otherwise than tokenProcessorConfig says: give hashAlgorithm, hashSeed and blockSizeTokens as the engines have them");
  }
  return missing;
}

void Router::Impl::observe_flow(Metrics& metrics, std::span<const Endpoint> endpoints) {
  const StageSaturation saturation = admission.saturation(endpoints, slots_of(endpoints));
  metrics.pool_saturation.with({"prefill"}).set(saturation.prefill);
  metrics.pool_saturation.with({"decode"}).set(saturation.decode);
  metrics.pool_saturation.with({"effective"}).set(saturation.effective());
  const auto& detector = dynamic_cast<const Plugin&>(admission.detector());
  metrics.stale_endpoints.with({detector.name}).set(admission.detector().stale(endpoints, parts.clock->now()));
  if (!admission.queues()) return;
  for (const auto& [id, priority] : reported_flows) {
    metrics.queue_size.with({id, std::to_string(priority)}).set(0);
    metrics.queue_bytes.with({id, std::to_string(priority)}).set(0);
  }
  admission.flow()->for_each_flow([&](const std::string& id, int priority, std::size_t requests, std::int64_t bytes) {
    constexpr std::size_t kMostFlows = 1000;
    const bool known = reported_flows.contains({id, priority}) || reported_flows.size() < kMostFlows;
    const std::string name = known ? id : "other";
    reported_flows.emplace(name, priority);
    metrics.queue_size.with({name, std::to_string(priority)}).add(static_cast<double>(requests));
    metrics.queue_bytes.with({name, std::to_string(priority)}).add(static_cast<double>(bytes));
  });
  admission.flow()->for_each_band([&](int priority, double requests, double bytes) {
    metrics.capacity_requests.with({std::to_string(priority)}).set(requests);
    metrics.capacity_bytes.with({std::to_string(priority)}).set(bytes);
  });
}

void Router::Impl::observe_prefixes(Metrics& metrics) {
  double blocks = 0;
  for (PrefixProducer* producer : pipeline.prefixes) {
    if (const auto* approximate = dynamic_cast<ApproximatePrefix*>(producer)) blocks += static_cast<double>(approximate->blocks());
  }
  metrics.prefix_index_size.set(blocks);
  if (feed == nullptr) return;
  metrics.kv_index_blocks.set(static_cast<double>(precise->blocks()));
  metrics.kv_orphan_blocks.add(static_cast<double>(precise->orphans()) - metrics.kv_orphan_blocks.value());
  const KvFeedCounts& now = feed->counts();
  const auto grow = [&](const char* what, std::uint64_t total, std::uint64_t before) {
    metrics.kv_feed.with({what}).add(static_cast<double>(total - before));
  };
  grow("received", now.messages, counted.messages);
  grow("malformed", now.malformed, counted.malformed);
  grow("gap", now.gaps, counted.gaps);
  grow("lost", now.lost_messages, counted.lost_messages);
  grow("restart", now.restarts, counted.restarts);
  grow("replay", now.replays, counted.replays);
  counted = now;
}

void Router::observe(std::span<const Endpoint> endpoints) {
  Metrics* metrics = impl_->parts.metrics;
  if (metrics == nullptr) return;
  impl_->observe_flow(*metrics, endpoints);
  impl_->observe_prefixes(*metrics);
  const auto observe = [&](auto get, metrics::Gauge& average, metrics::Gauge& deviation) {
    std::vector<double> values;
    for (const Endpoint& endpoint : endpoints) {
      if (const auto value = get(endpoint.state)) values.push_back(*value);
    }
    const double count = std::max(1.0, static_cast<double>(values.size()));
    const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
    double squares = 0;
    for (const double value : values) squares += (value - mean) * (value - mean);
    average.set(mean);
    deviation.set(std::sqrt(squares / count));
  };
  observe([](const EndpointState& s) { return s.waiting; }, metrics->average_queue, metrics->deviation_queue);
  observe([](const EndpointState& s) { return s.running; }, metrics->average_running, metrics->deviation_running);
  observe([](const EndpointState& s) { return s.kv_usage; }, metrics->average_kv_usage, metrics->deviation_kv_usage);
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
