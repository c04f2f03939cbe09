// SPDX-License-Identifier: Apache-2.0
// What `braid autoscale` acts on: a scale subresource of Kubernetes, an elastic server, or nothing.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"

namespace braid::app {

// Thread rules: one thread. Calls wait for the answer, ten seconds at most.
class ScaleTarget {
 public:
  virtual ~ScaleTarget() = default;
  virtual Result<int> replicas() = 0;
  virtual Status set_replicas(int count) = 0;
};

struct ApiPlace {
  std::string url;         // of an API server that asks for no credentials, as `kubectl proxy` is
  std::string kubeconfig;  // else this file; both empty: as Kubernetes tells a pod
};

// "kubernetes:deployments/NAMESPACE/NAME" and "kubernetes:leaderworkersets/NAMESPACE/NAME": replicas of the object's scale
// subresource; NAMESPACE may be left out ("kubernetes:deployments/NAME") where the account or context has one.
// "server:http://host:port": ranks of `braid serve`, by POST /scale_elastic_ep.
// Errors: any other text, or nobody says where the API server is.
Result<std::unique_ptr<ScaleTarget>> scale_target(const std::string& target, const ApiPlace& api);

}  // namespace braid::app
