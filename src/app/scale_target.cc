// SPDX-License-Identifier: Apache-2.0
#include "app/scale_target.h"

#include <chrono>
#include <nlohmann/json.hpp>
#include <vector>

#include "kubernetes/api_call.h"
#include "metrics/samples.h"
#include "net/event_loop.h"
#include "net/http_client.h"

namespace braid::app {
namespace {

using Json = nlohmann::json;

constexpr Duration kPatience = std::chrono::seconds(10);

class ScaleSubresource final : public ScaleTarget {
 public:
  ScaleSubresource(kubernetes::ApiServer server, std::string path) : server_(std::move(server)), path_(std::move(path)) {}

  Result<int> replicas() override {
    ASSIGN_OR_RETURN(const std::string body, kubernetes::ask(*loop_, server_, {.target = path_}, kPatience));
    const Json json = Json::parse(body, nullptr, false);
    const Json::json_pointer place("/spec/replicas");
    if (!json.is_object() || !json.contains(place)) return 0;  // Kubernetes leaves out a zero
    if (!json[place].is_number_integer()) return internal_error(path_ + " has no number at spec.replicas");
    return json[place].get<int>();
  }

  Status set_replicas(int count) override {
    const Json patch = {{"spec", {{"replicas", count}}}};
    const auto done = kubernetes::ask(*loop_, server_, {path_, patch.dump()}, kPatience);
    return done.ok() ? Status() : Status(done.error());
  }

 private:
  const std::shared_ptr<net::EventLoop> loop_ = std::make_shared<net::EventLoop>("scale");
  const kubernetes::ApiServer server_;
  const std::string path_;
};

class ElasticServer final : public ScaleTarget {
 public:
  explicit ElasticServer(const net::Url& url) : url_(url), client_(net::HttpClient::create(url.host, url.port, 2)) {}

  // Each rank has a sample of its own.
  Result<int> replicas() override {
    ASSIGN_OR_RETURN(const std::string page, call({.target = "/metrics", .headers = {}, .body = {}}));
    const auto ranks = static_cast<int>(metrics::Samples::parse(page).named("vllm:num_requests_running").size());
    return ranks > 0 ? Result<int>(ranks) : Result<int>(internal_error("the server's /metrics has no vllm:num_requests_running"));
  }

  Status set_replicas(int count) override {
    const Json body = {{"new_data_parallel_size", count}};
    const auto done = call({.method = "POST", .target = "/scale_elastic_ep", .headers = {}, .body = body.dump()});
    return done.ok() ? Status() : Status(done.error());
  }

 private:
  Result<std::string> call(net::ClientRequest request) {
    request.target = url_.base + request.target;
    request.timeout = kPatience;
    const std::string what = request.method + " " + request.target + " of " + url_.host + ":" + std::to_string(url_.port);
    ASSIGN_OR_RETURN(auto answer, client_->fetch(std::move(request)));
    if (answer.status / 100 == 2) return std::move(answer.body);
    return internal_error(what + " was answered with " + std::to_string(answer.status) + ": " + answer.body.substr(0, 200));
  }

  const net::Url url_;
  const std::unique_ptr<net::HttpClient> client_;
};

Result<kubernetes::ApiServer> server_at(const ApiPlace& api) {
  if (!api.url.empty()) return kubernetes::from_url(api.url);
  return api.kubeconfig.empty() ? kubernetes::in_cluster() : kubernetes::from_kubeconfig(api.kubeconfig);
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == at) parts.emplace_back();
    else parts.back() += c;
  }
  return parts;
}

}  // namespace

Result<std::unique_ptr<ScaleTarget>> scale_target(const std::string& target, const ApiPlace& api) {
  constexpr std::string_view kKubernetes = "kubernetes:", kServer = "server:";
  if (target.starts_with(kServer)) {
    ASSIGN_OR_RETURN(const net::Url url, net::parse_url(target.substr(kServer.size())));
    return std::unique_ptr<ScaleTarget>(std::make_unique<ElasticServer>(url));
  }
  auto parts = target.starts_with(kKubernetes) ? split(target.substr(kKubernetes.size()), '/') : std::vector<std::string>();
  const bool named = parts.size() == 2 || (parts.size() == 3 && !parts[1].empty());
  const std::string group = !named || parts.back().empty()    ? ""
                            : parts[0] == "deployments"       ? "apps/v1"
                            : parts[0] == "leaderworkersets"  ? "leaderworkerset.x-k8s.io/v1"
                                                              : "";
  if (group.empty()) {
    return invalid_argument("expected kubernetes:deployments/NAMESPACE/NAME, kubernetes:leaderworkersets/NAMESPACE/NAME or server:http://host:port, found '" + target + "'");
  }
  ASSIGN_OR_RETURN(auto server, server_at(api));
  const std::string space = parts.size() == 3 ? parts[1] : server.name_space;
  if (space.empty()) return invalid_argument("'" + target + "' names no namespace, and neither does the account; say kubernetes:" + parts[0] + "/NAMESPACE/" + parts.back());
  const std::string path = "/apis/" + group + "/namespaces/" + space + "/" + parts[0] + "/" + parts.back() + "/scale";
  return std::unique_ptr<ScaleTarget>(std::make_unique<ScaleSubresource>(std::move(server), path));
}

}  // namespace braid::app
