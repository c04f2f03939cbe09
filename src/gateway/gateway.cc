// SPDX-License-Identifier: Apache-2.0
#include "gateway/gateway.h"

#include <algorithm>
#include <latch>
#include <optional>
#include <random>

#include "base/log.h"
#include "base/version.h"
#include "dashboard/dashboard.h"
#include "extproc/server.h"
#include "gateway/core.h"
#include "gateway/dashboard_data.h"
#include "gateway/discovery.h"
#include "gateway/envoy_exchange.h"
#include "gateway/exchange.h"
#include "gateway/former_names.h"
#include "gateway/kubernetes_discovery.h"
#include "gateway/kv_subscriber.h"
#include "gateway/peers.h"
#include "gateway/scraper.h"
#include "metrics/registry.h"
#include "net/http_server.h"
#include "protocol/error_json.h"
#include "protocol/json_text.h"
#include "router/front.h"

namespace braid::gateway {
namespace {

using Client = std::shared_ptr<net::ResponseWriter>;

constexpr Duration kHealthInterval = std::chrono::milliseconds(200);
constexpr std::string_view kForwardedFolders[] = {"/v1/", "/v2/", "/inference/"};
constexpr std::string_view kForwardedPaths[] = {"/generate", "/tokenize", "/detokenize", "/score", "/rerank", "/pooling", "/classify", "/embed"};

bool is_forwarded(std::string_view path) {
  return std::any_of(std::begin(kForwardedFolders), std::end(kForwardedFolders), [&](std::string_view f) { return path.starts_with(f); }) ||
         std::find(std::begin(kForwardedPaths), std::end(kForwardedPaths), path) != std::end(kForwardedPaths);
}

void send_json(const Client& client, int status, std::string body) { client->send({.status = status, .body = std::move(body)}); }

Result<ScraperOptions> scraper_options(const RouteSettings& settings, const router::DataLayer& layer) {
  using std::chrono::milliseconds;
  ScraperOptions options;
  options.interval = layer.metrics.interval ? layer.metrics.interval->value : milliseconds(settings.refresh_metrics_interval_ms);
  options.timeout = milliseconds(settings.metrics_timeout_ms);
  options.path = layer.metrics.path;
  options.default_engine = layer.extractor.default_engine;
  options.engine_label = layer.extractor.engine_label;
  for (const auto& engine : layer.extractor.engines) {
    EngineMetrics metrics;
    const auto add = [&](LoadMetric metric, const std::string& text) -> Status {
      if (text.empty()) return {};
      ASSIGN_OR_RETURN(MetricSpec spec, parse_metric_spec(text));
      metrics.load.emplace_back(metric, std::move(spec));
      return {};
    };
    RETURN_IF_ERROR(add(LoadMetric::kWaiting, engine.waiting));
    RETURN_IF_ERROR(add(LoadMetric::kRunning, engine.running));
    RETURN_IF_ERROR(add(LoadMetric::kCacheUse, engine.kv_usage));
    RETURN_IF_ERROR(add(LoadMetric::kAdapters, engine.adapters));
    RETURN_IF_ERROR(add(LoadMetric::kCacheConfig, engine.cache_info));
    options.engines[engine.name] = std::move(metrics);
  }
  for (const auto& custom : layer.extractor.custom) {
    ASSIGN_OR_RETURN(MetricSpec spec, parse_metric_spec(custom.spec));
    options.custom.emplace_back(custom.key, std::move(spec));
  }
  return options;
}

DiscoveryOptions discovery_options(const RouteSettings& settings, const router::DataLayer& layer) {
  DiscoveryOptions options;
  options.list = settings.endpoints;
  options.names = settings.endpoints_dns;
  options.name_interval = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(settings.dns_interval_seconds));
  options.file = settings.endpoints_file;
  if (layer.discovery && options.file.empty()) {
    options.file = layer.discovery->path;
    options.watch_file = layer.discovery->watch;
  }
  return options;
}

// None: Kubernetes is not to be asked.
Result<std::optional<KubernetesOptions>> kubernetes_options(const RouteSettings& settings, const router::DataLayer& layer, const router::Resources& resources) {
  std::optional<KubernetesOptions> none;
  if (settings.pool_name.empty() || layer.discovery) return none;
  ASSIGN_OR_RETURN(kubernetes::ApiServer server, settings.kubeconfig.empty() ? kubernetes::in_cluster() : kubernetes::from_kubeconfig(settings.kubeconfig));
  KubernetesOptions options;
  options.pool = settings.pool_name;
  options.name_space = !settings.pool_namespace.empty() ? settings.pool_namespace : !server.name_space.empty() ? server.name_space : "default";
  options.group = settings.pool_group;
  options.server = std::move(server);
  options.resources = resources;
  return std::optional(std::move(options));
}

net::HttpServerOptions server_options(const RouteSettings& settings) {
  net::HttpServerOptions options;
  options.host = settings.http.host;
  options.port = settings.port;
  options.max_connections = settings.http.max_connections;
  options.max_body_bytes = static_cast<std::size_t>(settings.http.max_body_mib) << 20;
  options.streams = [](const net::Request& head) { return is_forwarded(head.path()) && streams_body(head); };
  options.idle_timeout = std::chrono::seconds(settings.http.keep_alive_timeout_seconds);
  return options;
}

class HttpGateway final : public Gateway {
 public:
  HttpGateway(const RouteSettings& settings, ReportWriter report) : core_(settings), report_(std::move(report)) { core_.loop = std::make_shared<net::EventLoop>("braid-route"); }

  // What the loop still holds of the core ends with the loop.
  ~HttpGateway() override {
    std::unique_ptr<extproc::Server> envoy;
    core_.loop->run_and_wait([this, &envoy] { envoy = std::move(envoy_); });
    envoy.reset();
    std::unique_ptr<KvSubscriber> kv_events;
    core_.loop->run_and_wait([this, &kv_events] {
      kv_events = std::move(kv_events_);
      scraper_.reset();
      kubernetes_.reset();
      discovery_.reset();
      peers_.reset();
      core_.waiting.clear();
      core_.upstream.reset();
    });
    kv_events.reset();
    server_.reset();
    core_.loop.reset();
  }

  Status open(const router::PickerConfig& config, router::Resources resources) {
    const router::Resources configured = resources;
    ASSIGN_OR_RETURN(core_.router, router::Router::make(config, {.clock = &core_.clock, .metrics = &core_.router_metrics,
                                                                 .resources = std::move(resources), .seed = std::random_device()(),
                                                                 .name_space = core_.settings.pool_namespace}));
    core_.token_source = core_.router->token_source();
    registry_.add(core_.router_metrics);
    registry_.add(core_.metrics);
    core_.metrics.info.with({version()}).set(1);
    registry_.add(core_.trace_metrics);
    if (core_.settings.old_metric_names) add_former_names(registry_, core_.settings.pool_name);
    ASSIGN_OR_RETURN(core_.tracer, tracing::Tracer::start(core_.settings.tracing, "braid-route", core_.trace_metrics));
    const router::DataLayer layer = router::data_layer_of(config);
    ASSIGN_OR_RETURN(ScraperOptions scraping, scraper_options(core_.settings, layer));
    ASSIGN_OR_RETURN(auto kubernetes, kubernetes_options(core_.settings, layer, configured));
    ASSIGN_OR_RETURN(auto peers, Peers::options(core_.settings));
    Status status;
    core_.loop->run_and_wait([&] { status = open_on_loop(discovery_options(core_.settings, layer), std::move(scraping)); });
    RETURN_IF_ERROR(std::move(status));
    if (peers) core_.loop->run_and_wait([&] { peers_ = std::make_unique<Peers>(core_, std::move(*peers)); });
    if (kubernetes) core_.loop->run_and_wait([&] { follow_kubernetes(std::move(*kubernetes)); });
    // A first request may come before `server_` is set; it waits for that.
    const auto ready = std::make_shared<std::latch>(1);
    ASSIGN_OR_RETURN(server_, net::HttpServer::listen(server_options(core_.settings), [this, ready](net::Request&& request, Client client) {
                       ready->wait();
                       handle(std::move(request), std::move(client));
                     }, core_.loop));
    if (core_.settings.grpc_port > 0) RETURN_IF_ERROR(open_to_envoy());
    ready->count_down();
    return {};
  }

  int port() const override { return server_->port(); }

  void drain(Duration timeout) override {
    core_.loop->run_and_wait([this] {
      core_.draining = true;
      if (envoy_ != nullptr) envoy_->set_ready(false);
      for (router::Settled& settled : core_.router->shut_down()) {
        const auto found = core_.waiting.find(settled.ticket);
        if (found == core_.waiting.end()) continue;
        const auto exchange = std::move(found->second);
        core_.waiting.erase(found);
        exchange->settle(std::move(settled.decision));
      }
    });
    const TimePoint end = core_.clock.now() + timeout;
    if (envoy_ != nullptr) envoy_->shutdown(timeout);
    server_->shutdown(std::max(Duration::zero(), end - core_.clock.now()));
  }

 private:
  Status open_to_envoy() {
    const RouteSettings& settings = core_.settings;
    const extproc::ServerOptions options{.host = settings.http.host, .port = settings.grpc_port, .health_port = settings.grpc_health_port,
                                         .tls = settings.secure_serving, .certificates = settings.cert_path};
    ASSIGN_OR_RETURN(envoy_, extproc::Server::start(core_.loop, options, [this](std::shared_ptr<extproc::Stream> stream) {
                       return std::make_shared<EnvoyExchange>(core_, std::move(stream));
                     }));
    log_info("answering Envoy", {{"grpc_port", envoy_->port()}, {"tls", settings.secure_serving}});
    core_.loop->run_and_wait([this] { tell_health(); });
    return {};
  }

  void tell_health() {
    if (envoy_ == nullptr || core_.draining) return;
    envoy_->set_ready(missing().empty());
    core_.loop->after(kHealthInterval, [this] { tell_health(); });
  }

  Status follow_kv_events() {
    router::KvFeed* feed = core_.router->kv_feed();
    if (feed == nullptr) return {};
    ASSIGN_OR_RETURN(kv_events_, KvSubscriber::start(feed->settings(), [this](std::vector<KvMessage> messages) {
                       core_.loop->post([this, messages = std::move(messages)] { take_kv_events(messages); });
                     }));
    return {};
  }

  void take_kv_events(const std::vector<KvMessage>& messages) {
    if (kv_events_ == nullptr) return;
    router::KvFeed& feed = *core_.router->kv_feed();
    const TimePoint now = core_.clock.now();
    for (const KvMessage& message : messages) {
      const std::span payload(reinterpret_cast<const std::uint8_t*>(message.payload.data()), message.payload.size());
      switch (message.kind) {
        case KvMessage::Kind::kLive: feed.on_message(message.source, message.sequence, payload, now); break;
        case KvMessage::Kind::kReplayed: feed.on_replayed(message.source, message.sequence, payload); break;
        case KvMessage::Kind::kReplayEnd: feed.on_replay_end(message.source); break;
      }
    }
    for (const router::ReplayRequest& request : feed.take_replays(now)) kv_events_->replay(request);
  }

  // Dead ones too: their events tell what they will have when they are back.
  void sync_kv_events() {
    if (kv_events_ == nullptr) return;
    std::vector<router::EndpointId> ids;
    for (const auto& endpoints : {core_.endpoints->usable(), core_.endpoints->dead()}) {
      for (const router::Endpoint& endpoint : endpoints) ids.push_back(endpoint.id);
    }
    core_.router->know_places(ids);
    kv_events_->follow(std::move(ids));
  }

  Status open_on_loop(DiscoveryOptions discovery, ScraperOptions scraping) {
    core_.upstream = net::ClientPool::create(core_.loop, {.max_idle = static_cast<std::size_t>(core_.settings.http.max_idle_connections),
                                                          .idle_timeout = std::chrono::seconds(core_.settings.http.idle_timeout_seconds)});
    core_.endpoints = std::make_unique<EndpointPool>([this](const std::string& name) { core_.router->remove_endpoint(name); });
    scraper_ = std::make_unique<Scraper>(*core_.loop, *core_.upstream, *core_.endpoints, core_.metrics, std::move(scraping),
                                         Scraper::Hooks{.on_change = [this] { core_.poll_soon(); },
                                                        .on_restart = [this](const std::string& name) { core_.router->restarted(name); }});
    ASSIGN_OR_RETURN(discovery_, Discovery::start(*core_.loop, *core_.endpoints, std::move(discovery), [this] { endpoints_changed(); }));
    RETURN_IF_ERROR(follow_kv_events());
    endpoints_changed();
    return {};
  }

  void endpoints_changed() {
    scraper_->sync();
    sync_kv_events();
    core_.poll_soon();
  }

  void follow_kubernetes(KubernetesOptions options) {
    kubernetes_ = std::make_unique<KubernetesDiscovery>(
        *core_.loop, *core_.endpoints, core_.metrics, std::move(options),
        KubernetesDiscovery::Hooks{.on_endpoints = [this] { endpoints_changed(); },
                                   .on_resources = [this](router::Resources resources) { core_.router->replace_resources(std::move(resources)); }});
  }

  void handle(net::Request&& request, Client client) {
    const std::string_view path = request.path();
    if (is_forwarded(path)) return std::make_shared<Exchange>(core_, std::move(request), std::move(client))->start();
    if (path == kPeersPath && peers_ != nullptr && request.method == "POST") return peers_->handle(request, *client);
    if (request.method != "GET") return not_found(request, client);
    if (path == "/health" || path == "/healthz" || path == "/livez") return client->send({.content_type = "text/plain"});
    if (path == "/readyz" || path == "/ready") return send_readiness(client);
    if (path == "/metrics") return client->send({.content_type = std::string(metrics::kContentType), .body = metrics_page()});
    const bool page = path == dashboard::kPagePath, data = path == dashboard::kDataPath;
    if (!page && !data && !path.starts_with("/debug/")) return not_found(request, client);
    if (!dashboard::may_look(request, core_.settings.api_key)) return client->send(dashboard::challenge());
    if (page) return client->send(dashboard::page_response());
    if (data) return client->send(dashboard::data_response(shown()));
    if (path == dashboard::kReportPath && report_) return client->send(dashboard::data_response(report_(shown(), metrics_page())));
    if (path == "/debug/state") return send_json(client, 200, core_.router->state_json());
    constexpr std::string_view kDecisions = "/debug/decisions/";
    if (!path.starts_with(kDecisions)) return not_found(request, client);
    if (auto json = core_.decisions.json(path.substr(kDecisions.size()))) return send_json(client, 200, std::move(*json));
    not_found(request, client);
  }

  static void not_found(const net::Request& request, const Client& client) {
    send_json(client, 404, protocol::error_body({ErrorCode::kNotFound, "Not Found: " + std::string(request.path()), {}}, 404));
  }

  std::vector<std::string> missing() const {
    std::vector<std::string> reasons = kubernetes_ != nullptr ? kubernetes_->missing() : std::vector<std::string>();
    if (core_.draining) reasons.push_back("the gateway is draining");
    if (core_.endpoints->size() == 0) reasons.push_back("no endpoint has been discovered");
    else if (core_.endpoints->usable().empty()) reasons.push_back("none of " + std::to_string(core_.endpoints->size()) + " endpoints answers");
    for (std::string& signal : core_.router->missing_signals(core_.endpoints->usable())) reasons.push_back(std::move(signal));
    return reasons;
  }

  void send_readiness(const Client& client) const {
    std::string list;
    for (const std::string& reason : missing()) list.append(list.empty() ? "" : ",").append(protocol::json_string(reason));
    send_json(client, list.empty() ? 200 : 503, std::string("{\"ready\":") + (list.empty() ? "true" : "false") + ",\"reasons\":[" + list + "]}");
  }

  std::string shown() { return dashboard_data(core_, metrics_page(), missing(), core_.clock.now() - started_); }

  std::string metrics_page() {
    core_.router->observe(core_.endpoints->usable());
    core_.metrics.dead_endpoints.set(static_cast<double>(core_.endpoints->dead().size()));
    core_.metrics.upstream_connections.set(core_.upstream->connections());
    core_.metrics.client_connections.set(server_->connections());
    return registry_.text();
  }

  Core core_;
  const ReportWriter report_;
  const TimePoint started_ = core_.clock.now();
  metrics::Registry registry_;
  std::unique_ptr<KvSubscriber> kv_events_;
  std::unique_ptr<Scraper> scraper_;
  std::unique_ptr<Discovery> discovery_;
  std::unique_ptr<KubernetesDiscovery> kubernetes_;
  std::unique_ptr<Peers> peers_;
  std::unique_ptr<net::HttpServer> server_;
  std::unique_ptr<extproc::Server> envoy_;
};

}  // namespace

Result<std::unique_ptr<Gateway>> Gateway::start(const RouteSettings& settings, const router::PickerConfig& config, router::Resources resources, ReportWriter report) {
  auto gateway = std::make_unique<HttpGateway>(settings, std::move(report));
  RETURN_IF_ERROR(gateway->open(config, std::move(resources)));
  return std::unique_ptr<Gateway>(std::move(gateway));
}

}  // namespace braid::gateway
