// SPDX-License-Identifier: Apache-2.0
#include "router/catalog.h"

#include "config/suggest.h"

namespace braid::router {
namespace {

struct Absent {
  std::string_view type;
  std::string_view why;
};

constexpr Absent kAbsent[] = {
    {"latency-scorer", "learned latency is not available; use token-load-scorer"},
    {"predicted-latency-producer", "learned latency is not available; use inflight-load-producer"},
    {"slo-headroom-tier-filter", "learned latency is not available"},
    {"latency-slo-admitter", "learned latency is not available; use probabilistic-admitter"},
    {"mm-embeddings-cache-scorer", "multimodal routing is not available"},
    {"mm-embeddings-cache-producer", "multimodal routing is not available"},
    {"always-disagg-multimodal-decider", "multimodal routing is not available"},
    {"disaggregatedset-rollout-screener", "rollouts are not available"},
    {"multicluster-queue-scorer", "routing to other clusters is not available"},
    {"multicluster-kv-cache-utilization-scorer", "routing to other clusters is not available"},
    {"multicluster-prefix-cache-scorer", "routing to other clusters is not available"},
    {"multicluster-session-affinity-scorer", "routing to other clusters is not available"},
    {"precise-prefix-cache-scorer", "it was replaced: use precise-prefix-cache-producer with prefix-cache-scorer"},
    {"burst-prefix-cache-producer", "it is not needed: approx-prefix-cache-producer counts a prompt from the moment it is sent"},
    {"models-data-source", "nothing uses it"},
    {"dcgm-data-source", "scrape its metrics with customMetrics of core-metrics-extractor"},
    {"topology-extractor", "it is not needed: labels of endpoints are read"},
    {"destination-endpoint-served-verifier", "it is a test of Envoy's"},
    {"request-attribute-reporter", "CEL expressions are not available"},
    {"vllmgrpc-parser", "gRPC is not available"},
    {"vertexai-parser", "the Vertex AI API is not available"},
};

}  // namespace

std::vector<PluginType> catalog() {
  std::vector<PluginType> types;
  for (const auto list : {load_scorers(), prefix_scorers(), affinity_scorers(), filters(), pickers(), profile_handlers(), producers(), flow_policies(),
                          front_plugins()}) {
    types.insert(types.end(), list.begin(), list.end());
  }
  return types;
}

Result<std::unique_ptr<Plugin>> make_plugin_of(std::string_view type, const ConfigValue& parameters) {
  ConfigValue where = parameters;
  if (!where.path.empty()) where.path.back() = std::string("type");
  for (const Absent& absent : kAbsent) {
    if (absent.type == type) return where.error("'" + std::string(type) + "' is not available: " + std::string(absent.why));
  }
  std::vector<std::string> names;
  for (const PluginType& known : catalog()) {
    if (known.type == type) return known.make(parameters);
    names.emplace_back(known.type);
  }
  const std::string near = config::nearest(type, names);
  return where.error("there is no plugin type '" + std::string(type) + "'" +
                     (near.empty() ? "; docs/reference/router.md lists all" : "; did you mean '" + near + "'?"));
}

std::string plugins_markdown() {
  std::string page;
  for (const PluginType& type : catalog()) {
    page += "### " + std::string(type.type) + "\n\n" + std::string(type.what) + "\n\n";
    ParameterPage parameters;
    type.describe(parameters);
    if (!parameters.rows().empty()) page += "| parameter | default | meaning |\n|---|---|---|\n" + parameters.rows() + "\n";
  }
  page += "### Not available\n\n| type | why |\n|---|---|\n";
  for (const Absent& absent : kAbsent) page += "| `" + std::string(absent.type) + "` | " + std::string(absent.why) + " |\n";
  return page;
}

}  // namespace braid::router
