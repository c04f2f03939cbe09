// SPDX-License-Identifier: Apache-2.0
// EndpointPickerConfig, llm-d's configuration of an endpoint picker, read strictly: an unknown key, a
// wrong type, a reference to nothing is an error that names file, line and path, and the nearest name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "router/config_reader.h"

namespace braid::router {

struct PluginEntry {
  std::string name;  // of the type, unless given
  std::string type;
  ConfigValue parameters;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("name", self.name, {.help = "What others call it; its type, if left out"});
    v.field("type", self.type, {.help = "Which plugin"});
    v.value("parameters", self.parameters, "What the type takes");
  }
};

struct PluginRef {
  std::string plugin;
  std::optional<double> weight;
  int line = 0;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.line(self.line);
    v.field("pluginRef", self.plugin, {.help = "Name of a plugin"});
    v.field("weight", self.weight, {.help = "Of a scorer; 1 if left out"});
  }
};

// A reference where a weight makes no sense.
struct PlainRef {
  std::string plugin;
  int line = 0;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.line(self.line);
    v.field("pluginRef", self.plugin, {.help = "Name of a plugin"});
  }
};

struct ProfileEntry {
  std::string name;
  std::vector<PluginRef> plugins;
  int line = 0;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.line(self.line);
    v.field("name", self.name, {.help = "What profile handlers call it"});
    v.list("plugins", self.plugins, "Filters, scorers and one picker");
  }
};

struct ParserEntries {
  std::vector<PlainRef> parsers;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.list("parsers", self.parsers, "Parsers of request bodies, in the order they are asked");
  }
};

struct SourceEntry {
  std::string plugin;
  std::vector<PlainRef> extractors;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("pluginRef", self.plugin, {.help = "Name of a plugin"});
    v.list("extractors", self.extractors, "What reads its data");
  }
};

struct DataLayerEntry {
  bool inject_defaults = true;
  std::vector<SourceEntry> sources;
  std::optional<PlainRef> discovery;
  std::optional<PlainRef> peer_discovery;
  std::string syncer;
  std::string sync_interval;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("injectDefaults", self.inject_defaults, {.help = "Scrape metrics even if no source says so"});
    v.list("sources", self.sources, "Where states of endpoints come from");
    v.optional("discovery", self.discovery, "Where endpoints come from");
    v.optional("peerDiscovery", self.peer_discovery, "Where other routers come from");
    v.field("crossReplicaSyncerPluginRef", self.syncer, {.help = "What tells other routers of state"});
    v.field("crossReplicaSyncInterval", self.sync_interval, {.help = "How often"});
  }
};

struct BandEntry {
  int priority = 0;
  std::optional<Quantity> max_bytes;
  std::optional<Quantity> max_requests;
  std::string fairness;
  std::string ordering;
  int line = 0;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.line(self.line);
    v.field("priority", self.priority, {.help = "Larger goes first"});
    v.quantity("maxBytes", self.max_bytes, "Bytes of waiting requests; 1G if left out");
    v.quantity("maxRequests", self.max_requests, "Waiting requests; 5000 if left out");
    v.field("fairnessPolicyRef", self.fairness, {.help = "Whose turn it is among flows"});
    v.field("orderingPolicyRef", self.ordering, {.help = "Whose turn it is within a flow"});
  }
};

struct FlowControlEntry {
  std::optional<Quantity> max_bytes;
  std::optional<Quantity> max_requests;
  std::optional<DurationText> default_ttl;
  std::optional<DurationText> no_endpoint_ttl;
  std::optional<BandEntry> default_band;
  std::optional<BandEntry> default_negative_band;
  std::vector<BandEntry> bands;
  std::string usage_limit;
  std::optional<PlainRef> saturation_detector;
  bool enable_eviction = false;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.quantity("maxBytes", self.max_bytes, "Bytes of all waiting requests; 0 or left out: no limit");
    v.quantity("maxRequests", self.max_requests, "All waiting requests; 0 or left out: no limit");
    v.duration("defaultRequestTTL", self.default_ttl, "Longest wait; 60s if left out, 0s: no limit");
    v.duration("noEndpointRequestTTL", self.no_endpoint_ttl, "Longest wait for a first endpoint; defaultRequestTTL if left out");
    v.optional("defaultPriorityBand", self.default_band, "Of priorities without a band of their own");
    v.optional("defaultNegativePriorityBand", self.default_negative_band, "The same for priorities below 0");
    v.list("priorityBands", self.bands, "Bands by priority");
    v.field("usageLimitPolicyPluginRef", self.usage_limit, {.help = "Up to which saturation each band may dispatch"});
    v.optional("saturationDetector", self.saturation_detector, "What tells how full the pool is");
    v.field("enableEviction", self.enable_eviction, {.help = "Ends requests of priority below 0 for more urgent ones"});
  }
};

struct PickerConfig {
  std::string api_version;
  std::string kind;
  std::vector<std::string> feature_gates;
  std::vector<PluginEntry> plugins;
  std::vector<ProfileEntry> profiles;
  std::optional<ParserEntries> request_handler;
  std::optional<PlainRef> parser;  // the old form of request_handler
  DataLayerEntry data_layer;
  FlowControlEntry flow_control;
  std::optional<PlainRef> saturation_detector;  // the old place
  std::string file;
  std::vector<std::string> warnings;  // of deprecated names

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("apiVersion", self.api_version,
            {.help = "llm-d.ai/v1alpha1", .choices = {"llm-d.ai/v1alpha1", "inference.networking.x-k8s.io/v1alpha1"}});
    v.field("kind", self.kind, {.help = "EndpointPickerConfig", .choices = {"EndpointPickerConfig"}});
    v.field("featureGates", self.feature_gates, {.help = "flowControl, or name=false"});
    v.list("plugins", self.plugins, "Every plugin that is used, with its parameters");
    v.list("schedulingProfiles", self.profiles, "How one endpoint is chosen: filters, scorers, a picker");
    v.optional("requestHandler", self.request_handler, "Which parsers read requests");
    v.optional("parser", self.parser, "Old form of requestHandler");
    v.object("dataLayer", self.data_layer, "Where endpoints and their states come from");
    v.object("flowControl", self.flow_control, "Queues in front of the pool");
    v.optional("saturationDetector", self.saturation_detector, "Old place of flowControl.saturationDetector");
  }

  // Whether a feature gate is on.
  bool gate(std::string_view name) const;
  const PluginEntry* plugin(std::string_view name) const;
};

// `yaml` may hold further documents (router/resources.h). Checks names and references too; what a
// plugin's parameters mean is checked by Router::make.
Result<PickerConfig> parse_picker_config(const std::string& yaml, const std::string& file);

// The configuration that is used when none is given: queue 2, cache use 2, prefix 3.
PickerConfig default_picker_config();

}  // namespace braid::router
