// SPDX-License-Identifier: Apache-2.0
// Keeps the states of endpoints fresh from their metrics pages, and finds out which are alive. Each address
// is asked again an interval after its answer, so that a slow one is never asked twice at once. When an
// answer fails to come the last values stay.
// Thread rules: the event loop's thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gateway/collect.h"
#include "gateway/endpoint_pool.h"
#include "gateway/metrics.h"
#include "gateway/metrics_page.h"
#include "net/client_pool.h"

namespace braid::gateway {

struct ScraperOptions {
  Duration interval = std::chrono::milliseconds(50);
  Duration timeout = std::chrono::seconds(2);
  int failures_until_dead = 3;  // in a row; one is enough where nothing listens
  std::string path;             // empty: the engine type's
  std::string default_engine = "vllm";
  std::string engine_label = std::string(router::kEngineLabel);
  std::map<std::string, EngineMetrics, std::less<>> engines;  // beside those that are known anyway
  std::vector<std::pair<std::string, MetricSpec>> custom;
};

class Scraper {
 public:
  struct Hooks {
    std::function<void()> on_change;                          // some states are new
    std::function<void(const std::string& name)> on_restart;  // the endpoint's engine has started anew
  };
  // All outlive the scraper.
  Scraper(net::EventLoop& loop, net::ClientPool& upstream, EndpointPool& endpoints, Metrics& metrics, ScraperOptions options, Hooks hooks);
  ~Scraper() { *alive_ = false; }

  // Begins with addresses that are new in the pool. Call it when the pool has changed.
  void sync();

 private:
  struct Target {
    router::EndpointId id;
    std::string host_port;
    int failures = 0;
    bool complained = false;
    std::optional<double> started;
  };

  void scrape(const std::shared_ptr<Target>& target);
  void answered(Target& target, Result<Collected> answer);
  void failed(Target& target, const Error& error);
  void read(Target& target, const std::string& page);
  EngineMetrics engine_of(const router::Endpoint& endpoint) const;

  net::EventLoop& loop_;
  net::ClientPool& upstream_;
  EndpointPool& endpoints_;
  Metrics& metrics_;
  const ScraperOptions options_;
  const Hooks hooks_;
  std::map<std::string, std::shared_ptr<Target>, std::less<>> targets_;  // by address
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace braid::gateway
