// SPDX-License-Identifier: Apache-2.0
#include "gateway/sidecar.h"

#include <thread>
#include <utility>

#include "gateway/divided_request.h"
#include "net/http_server.h"

namespace braid::gateway {
namespace {

constexpr Duration kNameInterval = std::chrono::seconds(5);

class HttpSidecar final : public Sidecar {
 public:
  explicit HttpSidecar(const SidecarSettings& settings) {
    core_.settings = settings;
    core_.loop = std::make_shared<net::EventLoop>("braid-sidecar");
    for (int rank = 0; rank < settings.data_parallel_size; ++rank) core_.decoder_ports.push_back(settings.model_server_port + rank);
  }

  ~HttpSidecar() override {
    core_.loop->run_and_wait([this] {
      core_.allowed.reset();
      core_.upstream.reset();
    });
    servers_.clear();
    core_.loop.reset();
  }

  Status open() {
    ASSIGN_OR_RETURN(core_.tracer, tracing::Tracer::start(core_.settings.tracing, "braid-sidecar", core_.trace_metrics));
    const HttpSettings& http = core_.settings.http;
    core_.loop->run_and_wait([&] {
      core_.upstream = net::ClientPool::create(core_.loop, {.max_idle = static_cast<std::size_t>(http.max_idle_connections),
                                                            .idle_timeout = std::chrono::seconds(http.idle_timeout_seconds)});
    });
    if (core_.settings.enable_ssrf_protection) {
      core_.allowed = std::make_unique<AllowList>(*core_.loop, core_.settings.allowed_prefillers, kNameInterval);
    }
    net::HttpServerOptions options;
    options.host = http.host;
    options.max_connections = http.max_connections;
    options.max_body_bytes = static_cast<std::size_t>(http.max_body_mib) << 20;
    options.idle_timeout = std::chrono::seconds(http.keep_alive_timeout_seconds);
    for (int rank = 0; rank < core_.settings.data_parallel_size; ++rank) {
      options.port = core_.settings.port == 0 ? 0 : core_.settings.port + rank;
      ASSIGN_OR_RETURN(auto server, net::HttpServer::listen(options, [this, rank](net::Request&& request, std::shared_ptr<net::ResponseWriter> client) {
                         std::make_shared<DividedRequest>(core_, rank, std::move(request), std::move(client))->start();
                       }, core_.loop));
      servers_.push_back(std::move(server));
    }
    return {};
  }

  std::vector<int> ports() const override {
    std::vector<int> ports;
    for (const auto& server : servers_) ports.push_back(server->port());
    return ports;
  }

  void drain(Duration timeout) override {
    std::vector<std::jthread> drains;
    for (const auto& server : servers_) drains.emplace_back([&server, timeout] { server->shutdown(timeout); });
  }

 private:
  SidecarCore core_;
  std::vector<std::unique_ptr<net::HttpServer>> servers_;
};

}  // namespace

Result<std::unique_ptr<Sidecar>> Sidecar::start(const SidecarSettings& settings) {
  if (settings.secure_proxy) return invalid_argument("--secure-proxy is not available: TLS is not spoken", "secure-proxy");
  auto sidecar = std::make_unique<HttpSidecar>(settings);
  RETURN_IF_ERROR(sidecar->open());
  return std::unique_ptr<Sidecar>(std::move(sidecar));
}

}  // namespace braid::gateway
