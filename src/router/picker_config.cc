// SPDX-License-Identifier: Apache-2.0
#include "router/picker_config.h"

#include <algorithm>

#include "base/check.h"
#include "config/suggest.h"
#include "router/documents.h"

namespace braid::router {
namespace {

constexpr std::string_view kDefault = R"(apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
- type: max-score-picker
- type: metrics-data-source
- type: core-metrics-extractor
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: queue-scorer
    weight: 2
  - pluginRef: kv-cache-utilization-scorer
    weight: 2
  - pluginRef: prefix-cache-scorer
    weight: 3
  - pluginRef: max-score-picker
)";

// The last two were needed once for what is always on now.
const std::vector<std::string> kGates = {"flowControl", "haPopulateNonLeaderDatastore", "dataLayer", "prepareDataPlugins"};

std::string_view gate_name(std::string_view gate) { return gate.substr(0, gate.find('=')); }

Status check_gates(const PickerConfig& config, const ConfigSource& source) {
  for (std::size_t i = 0; i < config.feature_gates.size(); ++i) {
    const std::string& gate = config.feature_gates[i];
    const std::string name(gate_name(gate));
    const std::string_view value = std::string_view(gate).substr(name.size());
    const ConfigPath path{std::string("featureGates"), i};
    if (std::find(kGates.begin(), kGates.end(), name) == kGates.end()) {
      const std::string near = config::nearest(name, kGates);
      return source.error(path, "there is no feature gate '" + name + "'" + (near.empty() ? "; known are flowControl and haPopulateNonLeaderDatastore" : "; did you mean '" + near + "'?"));
    }
    if (!value.empty() && value != "=true" && value != "=false") {
      return source.error(path, "'" + gate + "' must be a name, name=true or name=false");
    }
  }
  return {};
}

Status name_plugins(PickerConfig& config, const ConfigSource& source) {
  for (std::size_t i = 0; i < config.plugins.size(); ++i) {
    PluginEntry& plugin = config.plugins[i];
    const ConfigPath path{std::string("plugins"), i};
    if (plugin.type.empty()) return source.error(path, "a plugin needs a type");
    if (plugin.name.empty()) plugin.name = plugin.type;
    for (std::size_t j = 0; j < i; ++j) {
      if (config.plugins[j].name != plugin.name) continue;
      return source.error(path, "the name '" + plugin.name + "' is taken by plugins[" + std::to_string(j) + "]; give each plugin a name of its own");
    }
  }
  return {};
}

class References {
 public:
  References(const PickerConfig& config, const ConfigSource& source) : config_(config), source_(source) {
    for (const PluginEntry& plugin : config.plugins) names_.push_back(plugin.name);
  }

  Status check(const std::string& name, ConfigPath path, std::string_view field = "pluginRef") const {
    if (config_.plugin(name) != nullptr) return {};
    path.emplace_back(std::string(field));
    if (name.empty()) return source_.error(path, "the name of a plugin is missing");
    const std::string near = config::nearest(name, names_);
    return source_.error(path, "there is no plugin '" + name + "'" + (near.empty() ? "; add it to plugins" : "; did you mean '" + near + "'?"));
  }
  Status check(const std::optional<PlainRef>& ref, ConfigPath path) const {
    return ref ? check(ref->plugin, std::move(path)) : Status();
  }
  // A name that may be left out.
  Status named(const std::string& name, ConfigPath path, std::string_view field) const {
    return name.empty() ? Status() : check(name, std::move(path), field);
  }
  template <class Refs>
  Status all(const Refs& refs, const ConfigPath& path) const {
    for (std::size_t i = 0; i < refs.size(); ++i) {
      ConfigPath each = path;
      each.emplace_back(i);
      RETURN_IF_ERROR(check(refs[i].plugin, std::move(each)));
    }
    return {};
  }

 private:
  const PickerConfig& config_;
  const ConfigSource& source_;
  std::vector<std::string> names_;
};

Status check_profiles(const PickerConfig& config, const ConfigSource& source, const References& references) {
  for (std::size_t i = 0; i < config.profiles.size(); ++i) {
    const ProfileEntry& profile = config.profiles[i];
    const ConfigPath path{std::string("schedulingProfiles"), i};
    if (profile.name.empty()) return source.error(path, "a profile needs a name");
    for (std::size_t j = 0; j < i; ++j) {
      if (config.profiles[j].name == profile.name) return source.error(path, "the name '" + profile.name + "' is taken by another profile");
    }
    RETURN_IF_ERROR(references.all(profile.plugins, {std::string("schedulingProfiles"), i, std::string("plugins")}));
  }
  return {};
}

Status check_band(const BandEntry& band, const ConfigPath& path, const References& references) {
  RETURN_IF_ERROR(references.named(band.fairness, path, "fairnessPolicyRef"));
  return references.named(band.ordering, path, "orderingPolicyRef");
}

Status check_flow(const FlowControlEntry& flow, const References& references) {
  const std::string root = "flowControl";
  for (std::size_t i = 0; i < flow.bands.size(); ++i) {
    RETURN_IF_ERROR(check_band(flow.bands[i], {root, std::string("priorityBands"), i}, references));
  }
  if (flow.default_band) RETURN_IF_ERROR(check_band(*flow.default_band, {root, std::string("defaultPriorityBand")}, references));
  if (flow.default_negative_band) {
    RETURN_IF_ERROR(check_band(*flow.default_negative_band, {root, std::string("defaultNegativePriorityBand")}, references));
  }
  RETURN_IF_ERROR(references.named(flow.usage_limit, {root}, "usageLimitPolicyPluginRef"));
  return references.check(flow.saturation_detector, {root, std::string("saturationDetector")});
}

Status check_data_layer(const DataLayerEntry& layer, const References& references) {
  const std::string root = "dataLayer";
  RETURN_IF_ERROR(references.all(layer.sources, {root, std::string("sources")}));
  for (std::size_t i = 0; i < layer.sources.size(); ++i) {
    RETURN_IF_ERROR(references.all(layer.sources[i].extractors, {root, std::string("sources"), i, std::string("extractors")}));
  }
  RETURN_IF_ERROR(references.check(layer.discovery, {root, std::string("discovery")}));
  RETURN_IF_ERROR(references.check(layer.peer_discovery, {root, std::string("peerDiscovery")}));
  return references.named(layer.syncer, {root}, "crossReplicaSyncerPluginRef");
}

Status check_references(const PickerConfig& config, const ConfigSource& source) {
  const References references(config, source);
  RETURN_IF_ERROR(check_profiles(config, source, references));
  RETURN_IF_ERROR(check_flow(config.flow_control, references));
  RETURN_IF_ERROR(check_data_layer(config.data_layer, references));
  RETURN_IF_ERROR(references.check(config.parser, {std::string("parser")}));
  RETURN_IF_ERROR(references.check(config.saturation_detector, {std::string("saturationDetector")}));
  if (!config.request_handler) return {};
  return references.all(config.request_handler->parsers, {std::string("requestHandler"), std::string("parsers")});
}

void warn_of_old_names(PickerConfig& config) {
  if (config.api_version == "inference.networking.x-k8s.io/v1alpha1") {
    config.warnings.push_back("apiVersion inference.networking.x-k8s.io/v1alpha1 is deprecated; write llm-d.ai/v1alpha1");
  }
  if (config.parser) config.warnings.push_back("parser is deprecated; write requestHandler.parsers");
  if (config.saturation_detector) {
    config.warnings.push_back("saturationDetector is deprecated here; write flowControl.saturationDetector");
  }
}

}  // namespace

bool PickerConfig::gate(std::string_view name) const {
  bool on = false;
  for (const std::string& gate : feature_gates) {
    if (gate_name(gate) == name) on = !gate.ends_with("=false");
  }
  return on;
}

const PluginEntry* PickerConfig::plugin(std::string_view name) const {
  for (const PluginEntry& entry : plugins) {
    if (entry.name == name) return &entry;
  }
  return nullptr;
}

Result<PickerConfig> parse_picker_config(const std::string& yaml, const std::string& file) {
  ASSIGN_OR_RETURN(const std::vector<ConfigValue> documents, split_documents(yaml, file));
  const ConfigValue* chosen = nullptr;
  for (const ConfigValue& document : documents) {
    const std::string kind = kind_of(document);
    if (kind == "InferenceObjective" || kind == "InferenceModelRewrite" || kind == "InferencePool") continue;
    if (chosen != nullptr) return document.error("there is more than one EndpointPickerConfig");
    chosen = &document;
  }
  if (chosen == nullptr) return invalid_argument(file + ": there is no EndpointPickerConfig in it");
  PickerConfig config;
  config.file = file;
  RETURN_IF_ERROR(read_config(*chosen, config));
  if (config.api_version.empty()) return chosen->error("apiVersion is missing; write llm-d.ai/v1alpha1");
  if (config.kind.empty()) return chosen->error("kind is missing; write EndpointPickerConfig");
  RETURN_IF_ERROR(check_gates(config, *chosen->source));
  RETURN_IF_ERROR(name_plugins(config, *chosen->source));
  RETURN_IF_ERROR(check_references(config, *chosen->source));
  warn_of_old_names(config);
  return config;
}

PickerConfig default_picker_config() {
  auto config = parse_picker_config(std::string(kDefault), "the default configuration");
  CHECK(config.ok(), config.ok() ? std::string() : config.error().message);
  return std::move(config).value();
}

}  // namespace braid::router
