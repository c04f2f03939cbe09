// SPDX-License-Identifier: Apache-2.0
// Endpoints and rules from Kubernetes: the pods that an InferencePool selects, one endpoint for each of
// its target ports ("<pod>-rank-<i>"), and the InferenceObjectives and InferenceModelRewrites that name
// the pool. What is new counts at once; while the API server can't be asked, what was known stays.
// Thread rules: the event loop's thread only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gateway/endpoint_pool.h"
#include "gateway/metrics.h"
#include "kubernetes/collection.h"
#include "net/event_loop.h"
#include "router/resources.h"

namespace braid::gateway {

struct KubernetesOptions {
  kubernetes::ApiServer server;
  std::string pool;
  std::string name_space;
  std::string group;  // of the pool
  Duration first_pause = std::chrono::milliseconds(200);
  router::Resources resources;  // that are configured otherwise, and come first
};

class KubernetesDiscovery {
 public:
  struct Hooks {
    std::function<void()> on_endpoints;  // they have changed
    std::function<void(router::Resources resources)> on_resources;
  };
  // All that is passed outlives the discovery.
  KubernetesDiscovery(net::EventLoop& loop, EndpointPool& endpoints, Metrics& metrics, KubernetesOptions options, Hooks hooks);

  // What has not been read yet, one sentence each.
  std::vector<std::string> missing() const;

 private:
  struct Pool {
    std::string labels;
    std::vector<int> ports;
    bool operator==(const Pool&) const = default;
  };
  using Objects = kubernetes::Collection::Objects;

  std::unique_ptr<kubernetes::Collection> follow(const std::string& group_version, const std::string& kind, std::string labels, std::string name,
                                                 std::function<void(const Objects&)> on_change);
  void on_pool(const Objects& objects);
  void on_pods(const Objects& objects);
  void on_rules();

  net::EventLoop& loop_;
  EndpointPool& endpoints_;
  Metrics& metrics_;
  const KubernetesOptions options_;
  const Hooks hooks_;
  Pool pool_;
  std::string trouble_;
  std::unique_ptr<kubernetes::Collection> pools_;
  std::unique_ptr<kubernetes::Collection> pods_;
  struct Rules {
    std::unique_ptr<kubernetes::Collection> collection;
    Objects objects;
  };
  std::vector<Rules> rules_;
};

}  // namespace braid::gateway
