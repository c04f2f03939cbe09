// SPDX-License-Identifier: Apache-2.0
// Plugins that stand for work done in front of the picker: parsers of bodies, sources of states. Their
// names are accepted so that configurations of llm-d load; the gateway reads their parameters.
#include "router/catalog.h"
#include "router/front.h"

namespace braid::router {
namespace {

constexpr PluginType kTypes[] = {
    plugin_type<Parser>("openai-parser", "Bodies of OpenAI's API; always on."),
    plugin_type<Parser>("anthropic-parser", "Bodies of Anthropic's API; always on."),
    plugin_type<Parser>("vllmhttp-parser", "Bodies of vLLM's generate; always on."),
    plugin_type<Parser>("sglanghttp-parser", "Bodies of SGLang's generate; always on."),
    plugin_type<Parser>("passthrough-parser", "Bodies that no other parser claims are not looked at; always on."),
    plugin_type<MetricsSource>("metrics-data-source", "Scrapes the endpoints' metrics."),
    plugin_type<CoreMetricsExtractor>("core-metrics-extractor", "Reads load and cache configuration from them, by the engine's names."),
    plugin_type<FileDiscovery>("file-discovery", "Endpoints from a YAML file, read again when it changes."),
    plugin_type<NotificationSource>("endpoint-notification-source", "Tells producers of endpoints that come and go; always on."),
};

}  // namespace

std::span<const PluginType> front_plugins() { return kTypes; }

DataLayer data_layer_of(const PickerConfig& config) {
  DataLayer layer;
  const auto read = [](const PluginEntry& entry, auto& into) {
    const Status status = read_config(entry.parameters, into);
    CHECK(status.ok(), "Router::make has not seen this configuration");
  };
  for (const PluginEntry& entry : config.plugins) {
    if (entry.type == "metrics-data-source") read(entry, layer.metrics);
    if (entry.type == "core-metrics-extractor") read(entry, layer.extractor);
    if (entry.type == "file-discovery") read(entry, layer.discovery.emplace());
  }
  return layer;
}

}  // namespace braid::router
