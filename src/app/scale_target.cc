// SPDX-License-Identifier: Apache-2.0
#include "app/scale_target.h"

#include <chrono>
#include <nlohmann/json.hpp>
#include <vector>

#include "metrics/samples.h"
#include "net/http_client.h"

namespace braid::app {
namespace {

using Json = nlohmann::json;

constexpr Duration kPatience = std::chrono::seconds(10);

class Api {
 public:
  static Result<Api> open(const std::string& url) {
    ASSIGN_OR_RETURN(const net::Url parts, net::parse_url(url));
    Api api;
    api.url_ = url;
    api.base_ = parts.base;
    api.client_ = net::HttpClient::create(parts.host, parts.port, 2);
    return api;
  }

  Result<std::string> call(net::ClientRequest request) {
    request.target = base_ + request.target;
    request.timeout = kPatience;
    const std::string what = request.method + " " + url_ + request.target;
    ASSIGN_OR_RETURN(auto answer, client_->fetch(std::move(request)));
    if (answer.status / 100 == 2) return std::move(answer.body);
    return internal_error(what + " was answered with " + std::to_string(answer.status) + ": " + answer.body.substr(0, 200));
  }

 private:
  std::string url_, base_;
  std::unique_ptr<net::HttpClient> client_;
};

class ScaleSubresource final : public ScaleTarget {
 public:
  ScaleSubresource(Api api, std::string path) : api_(std::move(api)), path_(std::move(path)) {}

  Result<int> replicas() override {
    ASSIGN_OR_RETURN(const std::string body, api_.call({.target = path_, .headers = {}, .body = {}}));
    const Json json = Json::parse(body, nullptr, false);
    const Json::json_pointer place("/spec/replicas");
    if (!json.is_object() || !json.contains(place)) return 0;  // Kubernetes leaves out a zero
    if (!json[place].is_number_integer()) return internal_error(path_ + " has no number at spec.replicas");
    return json[place].get<int>();
  }

  Status set_replicas(int count) override {
    const Json patch = {{"spec", {{"replicas", count}}}};
    const auto done = api_.call({.method = "PATCH", .target = path_, .headers = {{"content-type", "application/merge-patch+json"}}, .body = patch.dump()});
    return done.ok() ? Status() : Status(done.error());
  }

 private:
  Api api_;
  const std::string path_;
};

class ElasticServer final : public ScaleTarget {
 public:
  explicit ElasticServer(Api api) : api_(std::move(api)) {}

  // Each rank has a sample of its own.
  Result<int> replicas() override {
    ASSIGN_OR_RETURN(const std::string page, api_.call({.target = "/metrics", .headers = {}, .body = {}}));
    const auto ranks = static_cast<int>(metrics::Samples::parse(page).named("vllm:num_requests_running").size());
    return ranks > 0 ? Result<int>(ranks) : Result<int>(internal_error("the server's /metrics has no vllm:num_requests_running"));
  }

  Status set_replicas(int count) override {
    const Json body = {{"new_data_parallel_size", count}};
    const auto done = api_.call({.method = "POST", .target = "/scale_elastic_ep", .headers = {}, .body = body.dump()});
    return done.ok() ? Status() : Status(done.error());
  }

 private:
  Api api_;
};

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == at) parts.emplace_back();
    else parts.back() += c;
  }
  return parts;
}

}  // namespace

Result<std::unique_ptr<ScaleTarget>> scale_target(const std::string& target, const std::string& api) {
  constexpr std::string_view kKubernetes = "kubernetes:", kServer = "server:";
  if (target.starts_with(kServer)) {
    ASSIGN_OR_RETURN(Api server, Api::open(target.substr(kServer.size())));
    return std::unique_ptr<ScaleTarget>(std::make_unique<ElasticServer>(std::move(server)));
  }
  const auto parts = target.starts_with(kKubernetes) ? split(target.substr(kKubernetes.size()), '/') : std::vector<std::string>();
  const std::string group = parts.size() != 3                ? ""
                            : parts[0] == "deployments"       ? "apps/v1"
                            : parts[0] == "leaderworkersets"  ? "leaderworkerset.x-k8s.io/v1"
                                                              : "";
  if (group.empty() || parts[1].empty() || parts[2].empty()) {
    return invalid_argument("expected kubernetes:deployments/NAMESPACE/NAME, kubernetes:leaderworkersets/NAMESPACE/NAME or server:http://host:port, found '" + target + "'");
  }
  ASSIGN_OR_RETURN(Api server, Api::open(api));
  const std::string path = "/apis/" + group + "/namespaces/" + parts[1] + "/" + parts[0] + "/" + parts[2] + "/scale";
  return std::unique_ptr<ScaleTarget>(std::make_unique<ScaleSubresource>(std::move(server), path));
}

}  // namespace braid::app
