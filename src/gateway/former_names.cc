// SPDX-License-Identifier: Apache-2.0
#include "gateway/former_names.h"

namespace braid::gateway {
namespace {

struct Former {
  const char* name;    // without llm_d_epp_
  const char* former;
};

constexpr Former kOfObjectives[] = {
    {"request", "request"},
    {"request_error", "request_error"},
    {"request_running", "running_requests"},
    {"request_duration_seconds", "request_duration_seconds"},
    {"request_ttft_seconds", "request_ttft_seconds"},
    {"request_ntpot_seconds", "normalized_time_per_output_token_seconds"},
    {"request_size_bytes", "request_sizes"},
    {"response_size_bytes", "response_sizes"},
    {"request_input_tokens", "input_tokens"},
    {"request_output_tokens", "output_tokens"},
    {"request_cached_tokens", "prompt_cached_tokens"},
};

constexpr Former kOfPools[] = {
    {"average_kv_cache_utilization", "average_kv_cache_utilization"},
    {"average_queue_size", "average_queue_size"},
    {"average_running_requests", "average_running_requests"},
    {"ready_endpoints", "ready_pods"},
};

constexpr const char* kSame[] = {
    "info", "scheduler_e2e_duration_seconds", "scheduler_attempts", "plugin_duration_seconds", "model_rewrite_decisions",
    "prefix_indexer_size", "prefix_indexer_hit_ratio", "prefix_indexer_hit_bytes",
};

constexpr const char* kOfFlowControl[] = {
    "request_queue_duration_seconds", "request_enqueue_duration_seconds", "dispatch_cycle_duration_seconds",
    "queue_size", "queue_bytes", "pool_saturation",
};

}  // namespace

void add_former_names(metrics::Registry& registry, const std::string& pool) {
  const std::string now = "llm_d_epp_";
  const auto told = [&](const char* label) { return pool.empty() ? metrics::Labels() : metrics::Labels{{label, pool}}; };
  for (const Former& each : kOfObjectives) registry.add_former(now + each.name, std::string("inference_objective_") + each.former);
  for (const Former& each : kOfPools) registry.add_former(now + each.name, std::string("inference_pool_") + each.former, {}, told("name"));
  registry.add_former(now + "per_endpoint_queue_size", "inference_pool_per_pod_queue_size", {"model_server_pod"}, told("name"));
  for (const std::string name : kSame) registry.add_former(now + name, "inference_extension_" + name);
  for (const std::string each : kOfFlowControl) {
    const std::string name = "flow_control_" + each;
    registry.add_former(now + name, "inference_extension_" + name, {}, told("inference_pool"));
  }
  registry.add_former(now + "disagg_decision", "llm_d_inference_scheduler_disagg_decision");
}

}  // namespace braid::gateway
