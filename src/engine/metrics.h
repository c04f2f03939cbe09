// SPDX-License-Identifier: Apache-2.0
// What the engine tells about itself; names, labels and buckets are vLLM's.
#pragma once

#include <cstdint>

#include "engine/moe_metrics.h"
#include "metrics/metrics.h"

namespace braid::engine {

struct Metrics {
  // Buckets of token counts reach up to `max_model_len`.
  explicit Metrics(std::int64_t max_model_len = 131072)
      : request_prompt_tokens(metrics::one_two_five_buckets(max_model_len)),
        request_generation_tokens(metrics::one_two_five_buckets(max_model_len)),
        request_max_num_generation_tokens(metrics::one_two_five_buckets(max_model_len)),
        request_params_max_tokens(metrics::one_two_five_buckets(max_model_len)),
        request_prefill_kv_computed_tokens(metrics::one_two_five_buckets(max_model_len)) {}

  metrics::Gauge requests_running;
  metrics::Gauge requests_waiting;
  metrics::Family<metrics::Gauge> requests_waiting_by_reason{{"reason"}};
  metrics::Family<metrics::Gauge> cache_config_info{{"block_size",
                                                     "cache_dtype",
                                                     "enable_prefix_caching",
                                                     "prefix_caching_hash_algo",
                                                     "num_gpu_blocks",
                                                     "kv_cache_size_tokens",
                                                     "kv_cache_memory_bytes"}};
  metrics::Gauge kv_cache_usage;
  metrics::Gauge kv_blocks_used;
  metrics::Gauge healthy;
  metrics::Gauge kv_holds;
  metrics::Counter kv_expired_holds;
  metrics::Counter kv_failed_transfers;
  metrics::Histogram kv_transfer_time{{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}};
  metrics::Histogram kv_transfer_bytes{{1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10}};
  metrics::Gauge group_ranks;
  metrics::Gauge kv_offload_blocks;
  metrics::Family<metrics::Counter> kv_offload_bytes{{"transfer_type"}};
  metrics::Counter external_prefix_cache_queries;
  metrics::Counter external_prefix_cache_hits;

  metrics::Counter prompt_tokens;
  metrics::Family<metrics::Counter> prompt_tokens_by_source{{"source"}};
  metrics::Counter prompt_tokens_cached;
  metrics::Counter generation_tokens;
  metrics::Family<metrics::Counter> request_success{{"finished_reason"}};
  metrics::Family<metrics::Counter> admission_rejections{{"reason"}};
  metrics::Counter preemptions;
  metrics::Counter prefix_cache_queries;
  metrics::Counter prefix_cache_hits;
  metrics::Counter corrupted_requests;
  metrics::Counter spec_decode_drafts;
  metrics::Counter spec_decode_draft_tokens;
  metrics::Counter spec_decode_accepted_tokens;
  metrics::Family<metrics::Counter> spec_decode_accepted_by_position{{"position"}};
  metrics::Gauge spec_decode_tokens;
  MoeMetrics moe;
  metrics::Counter dbo_steps;

  metrics::Histogram time_to_first_token{metrics::first_token_buckets()};
  metrics::Histogram inter_token_latency{metrics::token_latency_buckets()};
  metrics::Histogram time_per_output_token{metrics::token_latency_buckets()};
  metrics::Histogram e2e_latency{metrics::request_latency_buckets()};
  metrics::Histogram queue_time{metrics::request_latency_buckets()};
  metrics::Histogram prefill_time{metrics::request_latency_buckets()};
  metrics::Histogram decode_time{metrics::request_latency_buckets()};
  metrics::Histogram inference_time{metrics::request_latency_buckets()};
  metrics::Histogram request_prompt_tokens;
  metrics::Histogram request_generation_tokens;
  metrics::Histogram request_max_num_generation_tokens;
  metrics::Histogram request_params_max_tokens;
  metrics::Histogram request_prefill_kv_computed_tokens;
  metrics::Histogram request_params_n{{1, 2, 5, 10, 20}};
  metrics::Histogram request_num_preemptions{{1, 2, 3, 4, 5, 10, 20}};
  metrics::Histogram iteration_tokens{metrics::iteration_token_buckets()};

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    describe_state(self, v);
    describe_speculation(self, v);
    MoeMetrics::describe(self.moe, v);
    v.metric("braid:dbo_steps", self.dbo_steps, "Steps computed as two micro-batches");
    describe_transfer(self, v);
    describe_requests(self, v);
  }

 private:
  template <class Self, class Visitor>
  static void describe_state(Self& self, Visitor& v) {
    v.metric("vllm:num_requests_running", self.requests_running, "Sequences in the running batch");
    v.metric("vllm:num_requests_waiting", self.requests_waiting, "Sequences that wait to run");
    v.metric("vllm:num_requests_waiting_by_reason",
             self.requests_waiting_by_reason,
             "Sequences that wait, by what they wait for");
    v.metric("vllm:cache_config_info", self.cache_config_info, "The key/value cache; always 1");
    v.metric("vllm:kv_cache_usage_perc", self.kv_cache_usage, "Share of cache blocks in use, 0 to 1");
    v.metric("braid:kv_blocks_used", self.kv_blocks_used, "Cache blocks held by live sequences, or for other engines");
    v.metric("vllm:engine_healthy", self.healthy, "1 while the engine can serve, 0 when it is dead");
    v.metric("braid:group_ranks", self.group_ranks, "Ranks that this one steps together with, itself too; 0 when it steps alone");
    v.metric("vllm:prompt_tokens", self.prompt_tokens, "Prompt tokens processed");
    v.metric("vllm:prompt_tokens_by_source",
             self.prompt_tokens_by_source,
             "Prompt tokens by where their keys and values came from");
    v.metric("vllm:prompt_tokens_cached", self.prompt_tokens_cached, "Prompt tokens found in the cache");
    v.metric("vllm:generation_tokens", self.generation_tokens, "Tokens generated");
    v.metric("vllm:request_success", self.request_success, "Finished choices by reason");
    v.metric("vllm:admission_rejections",
             self.admission_rejections,
             "Requests refused on arrival by reason");
    v.metric("vllm:num_preemptions", self.preemptions, "Sequences that lost their blocks to others");
    v.metric("vllm:prefix_cache_queries",
             self.prefix_cache_queries,
             "Tokens looked up in the prefix cache");
    v.metric("vllm:prefix_cache_hits", self.prefix_cache_hits, "Tokens found in the prefix cache");
    v.metric("vllm:corrupted_requests",
             self.corrupted_requests,
             "Choices whose logits held no finite number");
    v.metric("vllm:iteration_tokens_total", self.iteration_tokens, "Tokens computed per step");
  }

  template <class Self, class Visitor>
  static void describe_speculation(Self& self, Visitor& v) {
    v.metric("vllm:spec_decode_num_drafts", self.spec_decode_drafts, "Drafts checked, of one token or more");
    v.metric("vllm:spec_decode_num_draft_tokens", self.spec_decode_draft_tokens, "Drafted tokens checked");
    v.metric("vllm:spec_decode_num_accepted_tokens",
             self.spec_decode_accepted_tokens,
             "Drafted tokens that came true");
    v.metric("vllm:spec_decode_num_accepted_tokens_per_pos",
             self.spec_decode_accepted_by_position,
             "Drafted tokens that came true, by position in their draft");
    v.metric("braid:spec_decode_tokens",
             self.spec_decode_tokens,
             "Tokens drafted per sequence, as decided for the last step");
  }

  template <class Self, class Visitor>
  static void describe_transfer(Self& self, Visitor& v) {
    v.metric("braid:kv_holds", self.kv_holds, "Requests whose blocks are held for another engine to read");
    v.metric("vllm:nixl_num_kv_expired_reqs", self.kv_expired_holds, "Holds that ended because their lease was over");
    v.metric("vllm:nixl_num_failed_transfers", self.kv_failed_transfers, "Requests whose blocks could not be read from another engine");
    v.metric("vllm:nixl_xfer_time_seconds", self.kv_transfer_time, "Time to read a request's blocks from another engine");
    v.metric("vllm:nixl_bytes_transferred", self.kv_transfer_bytes, "Bytes read for a request from another engine");
    v.metric("braid:kv_offload_blocks", self.kv_offload_blocks, "Cache blocks kept in the host's memory");
    v.metric("vllm:kv_offload_total_bytes", self.kv_offload_bytes, "Bytes of cache blocks copied to the host's memory, and back");
    v.metric("vllm:external_prefix_cache_queries",
             self.external_prefix_cache_queries,
             "Tokens looked up in the host's memory, as the prefix cache did not have them");
    v.metric("vllm:external_prefix_cache_hits", self.external_prefix_cache_hits, "Tokens found in the host's memory");
  }

  template <class Self, class Visitor>
  static void describe_requests(Self& self, Visitor& v) {
    v.metric("vllm:time_to_first_token_seconds", self.time_to_first_token, "Arrival to first token");
    v.metric("vllm:inter_token_latency_seconds", self.inter_token_latency, "Token to next token");
    v.metric("vllm:request_time_per_output_token_seconds",
             self.time_per_output_token,
             "Mean time per token after the first, per choice");
    v.metric("vllm:e2e_request_latency_seconds", self.e2e_latency, "Arrival to last token");
    v.metric("vllm:request_queue_time_seconds", self.queue_time, "Arrival to first computation");
    v.metric("vllm:request_prefill_time_seconds", self.prefill_time, "First computation to first token");
    v.metric("vllm:request_decode_time_seconds", self.decode_time, "First token to last token");
    v.metric("vllm:request_inference_time_seconds",
             self.inference_time,
             "First computation to last token");
    v.metric("vllm:request_prompt_tokens", self.request_prompt_tokens, "Prompt tokens per request");
    v.metric("vllm:request_generation_tokens",
             self.request_generation_tokens,
             "Generated tokens per choice");
    v.metric("vllm:request_max_num_generation_tokens",
             self.request_max_num_generation_tokens,
             "Generated tokens of a request's longest choice");
    v.metric("vllm:request_params_max_tokens", self.request_params_max_tokens, "max_tokens asked for");
    v.metric("vllm:request_params_n", self.request_params_n, "Choices asked for");
    v.metric("vllm:request_num_preemptions",
             self.request_num_preemptions,
             "Preemptions per choice");
    v.metric("vllm:request_prefill_kv_computed_tokens",
             self.request_prefill_kv_computed_tokens,
             "Prompt tokens per request that the cache did not hold");
  }
};

}  // namespace braid::engine
