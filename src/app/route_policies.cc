// SPDX-License-Identifier: Apache-2.0
#include "app/route_policies.h"

#include "text/files.h"

namespace braid::app {
namespace {

constexpr std::string_view kSocketPort = "SOCKET_PORT";

constexpr const char* kLeastLoad = R"(apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: active-request-scorer
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: active-request-scorer, weight: 2}
  - {pluginRef: max-score-picker}
)";

constexpr const char* kApproximate = R"(apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
- type: no-hit-lru-scorer
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: prefix-cache-scorer, weight: 3}
  - {pluginRef: no-hit-lru-scorer, weight: 2}
  - {pluginRef: max-score-picker}
)";

constexpr const char* kPrecise = R"(apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: precise-prefix-cache-producer
  parameters: {tokenProcessorConfig: {blockSize: 16}, kvEventsConfig: {zmqEndpoint: "tcp://127.0.0.1:SOCKET_PORT", discoverPods: false}, speculativeIndexing: true}
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
  parameters: {prefixMatchInfoProducerName: precise-prefix-cache-producer}
- type: no-hit-lru-scorer
  parameters: {prefixMatchInfoProducerName: precise-prefix-cache-producer}
- type: max-score-picker
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: queue-scorer, weight: 2}
  - {pluginRef: kv-cache-utilization-scorer, weight: 2}
  - {pluginRef: prefix-cache-scorer, weight: 3}
  - {pluginRef: no-hit-lru-scorer, weight: 2}
  - {pluginRef: max-score-picker}
)";

}  // namespace

Result<Policy> find_policy(const std::string& name, const std::string& config_file, int socket_port) {
  if (name == "round_robin") return Policy{name, "", false};
  if (name == "least_load") return Policy{name, kLeastLoad, false};
  if (name == "approximate_prefix") return Policy{name, kApproximate, false};
  if (name == "precise_prefix") {
    std::string config = kPrecise;
    config.replace(config.find(kSocketPort), kSocketPort.size(), std::to_string(socket_port));
    return Policy{name, std::move(config), true};
  }
  if (name == "config") {
    if (config_file.empty()) return invalid_argument("the policy config needs --config-file", "config-file");
    ASSIGN_OR_RETURN(std::string text, text::read_file(config_file));
    return Policy{name, std::move(text), true};
  }
  return invalid_argument("--policies: there is no '" + name + "', only round_robin, least_load, approximate_prefix, precise_prefix and config", "policies");
}

}  // namespace braid::app
