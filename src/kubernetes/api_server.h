// SPDX-License-Identifier: Apache-2.0
// Where a Kubernetes API server is and how it knows us.
#pragma once

#include <string>

#include "base/result.h"

namespace braid::kubernetes {

struct ApiServer {
  std::string host;
  int port = 443;
  bool tls = true;
  std::string base;         // of paths, without a trailing '/'
  std::string name;         // in the server's certificate
  std::string authorities;  // PEM; empty: those of the system
  bool verify = true;
  std::string token;
  std::string token_file;   // read anew for each call: tokens of service accounts are renewed
  std::string certificate;  // of the client, PEM; empty: none
  std::string key;
  std::string name_space;  // that of the account or context, or ""
};

// What Kubernetes gives to every pod: the variables KUBERNETES_SERVICE_HOST and _PORT, and the service
// account's folder. Errors: not in a pod.
Result<ApiServer> in_cluster(const std::string& folder = "/var/run/secrets/kubernetes.io/serviceaccount");

// Where `kubectl proxy` listens, say: "http://127.0.0.1:8001". It brings credentials of its own.
Result<ApiServer> from_url(const std::string& url);

// The current context of a kubeconfig file. Errors: what it says is missing, or a program should be run
// for credentials, which is not done.
Result<ApiServer> from_kubeconfig(const std::string& file);

// The bearer token now, or "".
std::string token_of(const ApiServer& server);

}  // namespace braid::kubernetes
