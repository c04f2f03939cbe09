// SPDX-License-Identifier: Apache-2.0
// What a router counts, under llm-d's names.
#pragma once

#include "metrics/metrics.h"

namespace braid::router {

struct Metrics {
  using Counters = metrics::Family<metrics::Counter>;
  using Gauges = metrics::Family<metrics::Gauge>;
  using Histograms = metrics::Family<metrics::Histogram>;

  Counters requests{request_labels()};
  Counters request_errors{request_labels("error_code")};
  Gauges requests_running{request_labels()};
  Histograms request_duration{request_labels(), metrics::request_latency_buckets()};
  Histograms time_to_first_token{request_labels("streaming"), metrics::first_token_buckets()};
  Histograms time_per_output_token{request_labels(), metrics::token_latency_buckets()};
  Histograms inter_token_latency{request_labels(), metrics::token_latency_buckets()};
  Histograms normalized_time_per_output_token{request_labels(), metrics::token_latency_buckets()};
  metrics::Histogram request_processing{wait_buckets()};
  metrics::Histogram response_processing{wait_buckets()};
  Histograms request_size{request_labels(), size_buckets()};
  Histograms response_size{request_labels(), size_buckets()};
  Histograms input_tokens{request_labels(), metrics::one_two_five_buckets(1000000)};
  Histograms output_tokens{request_labels(), metrics::one_two_five_buckets(1000000)};
  Histograms cached_tokens{request_labels(), metrics::one_two_five_buckets(1000000)};

  metrics::Gauge average_kv_usage;
  metrics::Gauge average_queue;
  metrics::Gauge average_running;
  metrics::Gauge deviation_kv_usage;
  metrics::Gauge deviation_queue;
  metrics::Gauge deviation_running;
  metrics::Gauge ready_endpoints;
  metrics::Gauge unknown_endpoints;
  Gauges endpoint_queue{{"endpoint_name"}};

  metrics::Histogram scheduler_duration{decision_buckets()};
  Counters scheduler_attempts{{"status", "target_model_name", "endpoint_name", "namespace", "port"}};
  Histograms plugin_duration{{"extension_point", "plugin_type", "plugin_name"}, decision_buckets()};
  Counters rewrite_decisions{{"model_rewrite_name", "model_name", "target_model"}};
  Counters disaggregation{{"decision_type"}};
  metrics::Counter prefill_missing;

  metrics::Gauge prefix_index_size;
  metrics::Histogram prefix_hit_ratio{ratio_buckets()};
  metrics::Histogram prefix_hit_bytes{size_buckets()};

  Histograms queue_duration{{"outcome"}, wait_buckets()};
  Gauges queue_size{{"fairness_id", "priority"}};
  Gauges queue_bytes{{"fairness_id", "priority"}};
  Gauges pool_saturation{{"stage"}};
  Gauges stale_endpoints{{"detector"}};
  metrics::Histogram dispatch_cycle{decision_buckets()};
  metrics::Histogram enqueue_duration{decision_buckets()};
  Gauges capacity_requests{{"priority"}};
  Gauges capacity_bytes{{"priority"}};
  metrics::Counter evictions;

  Counters kv_feed{{"what"}};
  metrics::Gauge kv_index_blocks;
  metrics::Counter kv_orphan_blocks;

  // Of everything told of requests; `more` follows them.
  static std::vector<std::string> request_labels(const char* more = nullptr);
  static std::vector<double> size_buckets();      // bytes: 64 ... 1 GiB in powers of four
  static std::vector<double> decision_buckets();  // seconds: 1 us ... 100 ms
  static std::vector<double> ratio_buckets();     // 0.1 ... 1
  static std::vector<double> wait_buckets();      // seconds: 0.1 ms ... 60 s

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.metric("llm_d_epp_request", self.requests, "Requests received.");
    v.metric("llm_d_epp_request_error", self.request_errors, "Requests that ended in an error.");
    v.metric("llm_d_epp_request_running", self.requests_running, "Requests in flight.");
    v.metric("llm_d_epp_request_duration_seconds", self.request_duration, "Arrival to last byte.");
    v.metric("llm_d_epp_request_ttft_seconds", self.time_to_first_token, "Arrival to first byte of the answer.");
    v.metric("llm_d_epp_request_streaming_tpot_seconds", self.time_per_output_token, "Mean time of a token after the first, of streams.");
    v.metric("llm_d_epp_request_streaming_itl_seconds", self.inter_token_latency, "Time between two tokens of a stream, from one piece of the answer to the next.");
    v.metric("llm_d_epp_request_ntpot_seconds", self.normalized_time_per_output_token, "Arrival to last byte, divided by the generated tokens.");
    v.metric("llm_d_epp_request_processing_duration_seconds", self.request_processing, "Arrival to the sending to an endpoint, waiting in flow control included.");
    v.metric("llm_d_epp_response_processing_duration_seconds", self.response_processing, "Time spent on the pieces of a stream's answer, or from an answer's first piece to its last.");
    v.metric("llm_d_epp_request_size_bytes", self.request_size, "Bytes of request bodies.");
    v.metric("llm_d_epp_response_size_bytes", self.response_size, "Bytes of response bodies.");
    v.metric("llm_d_epp_request_input_tokens", self.input_tokens, "Prompt tokens, from usage.");
    v.metric("llm_d_epp_request_output_tokens", self.output_tokens, "Generated tokens, from usage.");
    v.metric("llm_d_epp_request_cached_tokens", self.cached_tokens, "Prompt tokens found in the engine's cache, from usage.");
    v.metric("llm_d_epp_average_kv_cache_utilization", self.average_kv_usage, "Mean share of cache in use over the endpoints that report it.");
    v.metric("llm_d_epp_average_queue_size", self.average_queue, "Mean number of waiting requests over the endpoints that report it.");
    v.metric("llm_d_epp_average_running_requests", self.average_running, "Mean number of running requests over the endpoints that report it.");
    v.metric("llm_d_epp_std_dev_kv_cache_utilization", self.deviation_kv_usage, "Standard deviation of the share of cache in use over the endpoints that report it.");
    v.metric("llm_d_epp_std_dev_queue_size", self.deviation_queue, "Standard deviation of waiting requests over the endpoints that report them.");
    v.metric("llm_d_epp_std_dev_running_requests", self.deviation_running, "Standard deviation of running requests over the endpoints that report them.");
    v.metric("llm_d_epp_ready_endpoints", self.ready_endpoints, "Endpoints in the pool.");
    v.metric("llm_d_epp_unknown_endpoints", self.unknown_endpoints, "Endpoints in the pool that have never reported their load.");
    v.metric("llm_d_epp_per_endpoint_queue_size", self.endpoint_queue, "Waiting requests of an endpoint.");
    v.metric("llm_d_epp_scheduler_e2e_duration_seconds", self.scheduler_duration, "Time that a decision takes.");
    v.metric("llm_d_epp_scheduler_attempts", self.scheduler_attempts, "Decisions by outcome.");
    v.metric("llm_d_epp_plugin_duration_seconds", self.plugin_duration, "Time of a plugin in one decision, by what it was asked for: Filter, Scorer, Picker.");
    v.metric("llm_d_epp_model_rewrite_decisions", self.rewrite_decisions, "Models rewritten, by rule.");
    v.metric("llm_d_epp_disagg_decision", self.disaggregation, "Decisions by how prefill and decode were divided.");
    v.metric("llm_d_epp_disagg_prefill_missing", self.prefill_missing, "Decisions that wanted a prefill endpoint and found none.");
    v.metric("llm_d_epp_prefix_indexer_size", self.prefix_index_size, "Blocks remembered by approximate prefix routing.");
    v.metric("llm_d_epp_prefix_indexer_hit_ratio", self.prefix_hit_ratio, "Share of a prompt's blocks known on the chosen endpoint.");
    v.metric("llm_d_epp_prefix_indexer_hit_bytes", self.prefix_hit_bytes, "Prompt bytes known on the chosen endpoint.");
    v.metric("llm_d_epp_flow_control_request_queue_duration_seconds", self.queue_duration, "Time in flow control by outcome.");
    v.metric("llm_d_epp_flow_control_queue_size", self.queue_size, "Requests waiting in flow control.");
    v.metric("llm_d_epp_flow_control_queue_bytes", self.queue_bytes, "Bytes of requests waiting in flow control.");
    v.metric("llm_d_epp_flow_control_pool_saturation", self.pool_saturation, "Saturation of the pool; from 1 on nothing is let through.");
    v.metric("llm_d_epp_flow_control_stale_endpoints", self.stale_endpoints, "Endpoints whose newest report is older than the saturation detector's metricsStalenessThreshold, or missing; their last values hold.");
    v.metric("llm_d_epp_flow_control_dispatch_cycle_duration_seconds", self.dispatch_cycle, "Time of a look at what waits, with the decisions made.");
    v.metric("llm_d_epp_flow_control_request_enqueue_duration_seconds", self.enqueue_duration, "Time to put a request into its queue.");
    v.metric("llm_d_epp_flow_control_capacity_utilization_requests", self.capacity_requests, "Requests that wait in a priority band, as a share of its maxRequests.");
    v.metric("llm_d_epp_flow_control_capacity_utilization_bytes", self.capacity_bytes, "Bytes that wait in a priority band, as a share of its maxBytes.");
    v.metric("llm_d_epp_flow_control_evictions", self.evictions, "Requests in flight that were ended for more urgent ones.");
    v.metric("llm_d_epp_kv_cache_events", self.kv_feed, "KV event messages by what became of them.");
    v.metric("llm_d_epp_kv_cache_index_blocks", self.kv_index_blocks, "Blocks in the index of KV events.");
    v.metric("llm_d_epp_kv_cache_orphan_blocks", self.kv_orphan_blocks, "Stored blocks that could not be placed because their parent is unknown.");
  }
};

}  // namespace braid::router
