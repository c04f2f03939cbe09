// SPDX-License-Identifier: Apache-2.0
// An engine's load, read from its page of Prometheus metrics in one pass that looks only for the few
// names it wants.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "router/endpoint.h"

namespace braid::gateway {

// A metric, or of its samples those with all these labels.
struct MetricSpec {
  std::string name;
  std::vector<std::pair<std::string, std::string>> labels;
};
// "name" or "name{label=value,other="value"}".
Result<MetricSpec> parse_metric_spec(std::string_view text);

enum class LoadMetric { kWaiting, kRunning, kCacheUse, kAdapters, kCacheConfig, kBlockTokens, kBlocks };

// What one kind of engine calls its metrics.
struct EngineMetrics {
  std::string path = "/metrics";
  std::vector<std::pair<LoadMetric, MetricSpec>> load;
};
// Of "vllm" (also braid), "sglang", "trtllm-serve"; none: an engine that is not known.
std::optional<EngineMetrics> engine_metrics(std::string_view engine_type);

struct PageOptions {
  EngineMetrics engine;
  std::optional<int> rank;  // only samples with this engine label; none: requests are summed, cache use averaged
  std::vector<std::pair<std::string, MetricSpec>> custom;  // attribute and metric
};

struct PageFacts {
  bool told = false;              // at least one of waiting, running and cache use was there
  std::optional<double> started;  // process_start_time_seconds: another one means a new engine
};

// Overwrites in `state` what the page tells, and leaves the rest as it was; `seen` is the caller's.
PageFacts read_page(std::string_view page, const PageOptions& options, router::EndpointState& state);

}  // namespace braid::gateway
