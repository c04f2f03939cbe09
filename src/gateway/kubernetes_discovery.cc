// SPDX-License-Identifier: Apache-2.0
#include "gateway/kubernetes_discovery.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "base/log.h"

namespace braid::gateway {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kSource = "kubernetes";
constexpr std::string_view kOldGroup = "inference.networking.x-k8s.io";
// Objectives and rewrites, today's group first.
constexpr const char* kRuleGroups[] = {"llm-d.ai/v1alpha2", "inference.networking.x-k8s.io/v1alpha2"};
constexpr const char* kRuleKinds[] = {"inferenceobjectives", "inferencemodelrewrites"};

const Json& at(const Json& object, const char* key) {
  static const Json nothing;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() ? *found : nothing;
}
std::string text(const Json& value) { return value.is_string() ? value.get<std::string>() : std::string(); }

std::string selector_of(const Json& labels) {
  std::string selector;
  for (const auto& [key, value] : labels.items()) selector.append(selector.empty() ? "" : ",").append(key).append("=").append(text(value));
  return selector;
}

bool is_ready(const Json& pod) {
  if (at(at(pod, "metadata"), "deletionTimestamp").is_string()) return false;
  for (const Json& condition : at(at(pod, "status"), "conditions")) {
    if (text(at(condition, "type")) == "Ready") return text(at(condition, "status")) == "True";
  }
  return false;
}

void add_endpoints(const Json& pod, const std::vector<int>& ports, std::vector<router::Endpoint>& endpoints) {
  const std::string address = text(at(at(pod, "status"), "podIP"));
  if (address.empty() || !is_ready(pod)) return;
  const Json& metadata = at(pod, "metadata");
  for (std::size_t i = 0; i < ports.size(); ++i) {
    router::Endpoint endpoint{{text(at(metadata, "name")) + "-rank-" + std::to_string(i), address, ports[i], static_cast<int>(i)}, {}, {}};
    for (const auto& [key, value] : at(metadata, "labels").items()) endpoint.labels[key] = text(value);
    endpoints.push_back(std::move(endpoint));
  }
}

// One rule of this pool, as a document of resources.h; "": of another pool.
struct Document {
  std::string created, name, text;
};
Document document_of(const std::string& json, const std::string& pool) {
  const Json object = Json::parse(json, nullptr, false);
  const Json& metadata = at(object, "metadata");
  Document document{text(at(metadata, "creationTimestamp")), text(at(metadata, "name")), ""};
  if (text(at(at(at(object, "spec"), "poolRef"), "name")) != pool) return document;
  document.text = Json{{"apiVersion", at(object, "apiVersion")}, {"kind", at(object, "kind")}, {"metadata", {{"name", document.name}}}, {"spec", at(object, "spec")}}.dump();
  return document;
}

}  // namespace

KubernetesDiscovery::KubernetesDiscovery(net::EventLoop& loop, EndpointPool& endpoints, Metrics& metrics, KubernetesOptions options, Hooks hooks)
    : loop_(loop), endpoints_(endpoints), metrics_(metrics), options_(std::move(options)), hooks_(std::move(hooks)) {
  const std::string version = options_.group == kOldGroup ? "/v1alpha2" : "/v1";
  pools_ = follow(options_.group + version, "inferencepools", "", options_.pool, [this](const Objects& objects) { on_pool(objects); });
  rules_.resize(std::size(kRuleGroups) * std::size(kRuleKinds));
  std::size_t next = 0;
  for (const char* group : kRuleGroups) {
    for (const char* kind : kRuleKinds) {
      Rules& rules = rules_[next++];
      rules.collection = follow(group, kind, "", "", [this, &rules](const Objects& objects) {
        rules.objects = objects;
        on_rules();
      });
    }
  }
}

std::unique_ptr<kubernetes::Collection> KubernetesDiscovery::follow(const std::string& group_version, const std::string& kind, std::string labels,
                                                                    std::string name, std::function<void(const Objects&)> on_change) {
  kubernetes::Collection::Options options;
  options.path = (group_version == "v1" ? "/api/" : "/apis/") + group_version + "/namespaces/" + options_.name_space + "/" + kind;
  options.labels = std::move(labels);
  options.name = std::move(name);
  options.first_pause = options_.first_pause;
  const auto on_trouble = [this, kind](const Error& error) {
    metrics_.kubernetes_errors.with({kind}).add();
    if (std::exchange(trouble_, error.message) != error.message) log_warning("Kubernetes is asked again", {{"kind", kind}, {"why", error.message}});
  };
  return std::make_unique<kubernetes::Collection>(loop_, options_.server, std::move(options), kubernetes::Collection::Hooks{std::move(on_change), on_trouble});
}

void KubernetesDiscovery::on_pool(const Objects& objects) {
  Pool pool;
  if (const auto found = objects.find(options_.pool); found != objects.end()) {
    const Json object = Json::parse(found->second, nullptr, false);
    const Json& spec = at(object, "spec");
    const Json& labels = at(at(spec, "selector"), "matchLabels");
    pool.labels = selector_of(labels.is_object() ? labels : at(spec, "selector"));
    for (const Json& port : at(spec, "targetPorts")) pool.ports.push_back(at(port, "number").is_number_integer() ? at(port, "number").get<int>() : 0);
    if (at(spec, "targetPortNumber").is_number_integer()) pool.ports.push_back(at(spec, "targetPortNumber").get<int>());
    std::erase_if(pool.ports, [](int port) { return port < 1 || port > 65535; });
  }
  if (pool == pool_) return;
  pool_ = std::move(pool);
  pods_.reset();
  if (pool_.labels.empty() || pool_.ports.empty()) return on_pods({});
  pods_ = follow("v1", "pods", pool_.labels, "", [this](const Objects& pods) { on_pods(pods); });
}

void KubernetesDiscovery::on_pods(const Objects& objects) {
  std::vector<router::Endpoint> endpoints;
  for (const auto& [name, json] : objects) add_endpoints(Json::parse(json, nullptr, false), pool_.ports, endpoints);
  endpoints_.replace(std::string(kSource), endpoints);
  hooks_.on_endpoints();
}

void KubernetesDiscovery::on_rules() {
  std::vector<Document> documents;
  for (const Rules& rules : rules_) {
    for (const auto& [name, json] : rules.objects) {
      if (Document document = document_of(json, options_.pool); !document.text.empty()) documents.push_back(std::move(document));
    }
  }
  std::stable_sort(documents.begin(), documents.end(), [](const Document& a, const Document& b) { return std::tie(a.created, a.name) < std::tie(b.created, b.name); });
  router::Resources resources = options_.resources;
  for (const Document& document : documents) {
    const Status status = router::add_resources(resources, document.text, document.name);
    if (!status.ok()) log_warning("a resource is left out", {{"name", document.name}, {"why", status.error().message}});
  }
  hooks_.on_resources(std::move(resources));
}

std::vector<std::string> KubernetesDiscovery::missing() const {
  std::vector<std::string> missing;
  const std::string pool = "InferencePool " + options_.name_space + "/" + options_.pool;
  if (!pools_->known()) missing.push_back(pool + " has not been read" + (trouble_.empty() ? "" : ": " + trouble_));
  else if (pool_.ports.empty() || pool_.labels.empty()) missing.push_back(pool + " does not exist, or selects nothing");
  else if (!pods_->known()) missing.push_back("the pods of " + pool + " have not been read" + (trouble_.empty() ? "" : ": " + trouble_));
  for (const Rules& rules : rules_) {
    if (!rules.collection->known()) missing.push_back(rules.collection->path() + " has not been read");
  }
  return missing;
}

}  // namespace braid::gateway
