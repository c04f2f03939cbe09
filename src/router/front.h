// SPDX-License-Identifier: Apache-2.0
// What the configuration says of parsers and of the data layer: parameters that the gateway reads.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "router/catalog.h"
#include "router/picker_config.h"

namespace braid::router {

class Parser final : public Plugin {
 public:
  using Parameters = NoParameters;
  explicit Parser(Parameters) {}
};

class NotificationSource final : public Plugin {
 public:
  using Parameters = NoParameters;
  explicit NotificationSource(Parameters) {}
};

class MetricsSource final : public Plugin {
 public:
  struct Parameters {
    std::string scheme = "http";
    std::string path;
    std::optional<DurationText> interval;
    bool skip_verify = true;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("scheme", self.scheme, {.help = "http", .choices = {"http"}});
      v.field("path", self.path, {.help = "Path of the metrics; that of the engine's type if left out"});
      v.duration("interval", self.interval, "Time between scrapes; 50ms if left out, which is the least");
      v.field("insecureSkipVerify", self.skip_verify, {.help = "Has no effect over http"});
    }
  };
  explicit MetricsSource(Parameters) {}
};

class CoreMetricsExtractor final : public Plugin {
 public:
  // Names of metrics of one engine type: "name" or "name{label=value}".
  struct Engine {
    std::string name, waiting, running, kv_usage, adapters, cache_info;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("name", self.name, {.help = "Value of the label llm-d.ai/engine-type"});
      v.field("queuedRequestsSpec", self.waiting, {.help = "Metric of waiting requests"});
      v.field("runningRequestsSpec", self.running, {.help = "Metric of running requests"});
      v.field("kvUsageSpec", self.kv_usage, {.help = "Metric of cache use"});
      v.field("loraSpec", self.adapters, {.help = "Metric of adapters"});
      v.field("cacheInfoSpec", self.cache_info, {.help = "Metric of the cache's configuration"});
    }
  };
  struct Custom {
    std::string key, spec;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("attributeKey", self.key, {.help = "Attribute that gets the value"});
      v.field("metricSpec", self.spec, {.help = "name or name{label=value}"});
    }
  };
  struct Parameters {
    std::string default_engine = "vllm";
    std::string engine_label = std::string(kEngineLabel);
    std::vector<Engine> engines;
    std::vector<Custom> custom;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("defaultEngine", self.default_engine, {.help = "Engine type of endpoints without the label"});
      v.field("engineLabelKey", self.engine_label, {.help = "Label that tells the engine type"});
      v.list("engineConfigs", self.engines, "Further engine types");
      v.list("customMetrics", self.custom, "Further metrics, as attributes of endpoints");
    }
  };
  explicit CoreMetricsExtractor(Parameters) {}
};

class FileDiscovery final : public Plugin {
 public:
  struct Parameters {
    std::string path;
    bool watch = true;

    template <class Self, class Visitor>
    static void describe(Self& self, Visitor& v) {
      v.field("path", self.path, {.help = "The file: endpoints: [{name, namespace, address, port, labels}]"});
      v.field("watchFile", self.watch, {.help = "Read it again when it changes"});
    }
  };
  explicit FileDiscovery(Parameters) {}
};

// What the gateway needs to know of a configuration.
struct DataLayer {
  MetricsSource::Parameters metrics;
  CoreMetricsExtractor::Parameters extractor;
  std::optional<FileDiscovery::Parameters> discovery;
};
// REQUIRES: Router::make accepts `config`.
DataLayer data_layer_of(const PickerConfig& config);

}  // namespace braid::router
