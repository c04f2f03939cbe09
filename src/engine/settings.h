// SPDX-License-Identifier: Apache-2.0
// Settings of the engine: cache, scheduler, sampling limits. Names are vLLM's where it has them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/describe.h"
#include "events/settings.h"
#include "transfer/settings.h"

namespace braid::engine {

struct CacheSettings {
  int block_size = 16;
  std::optional<std::int64_t> kv_cache_memory_bytes;
  std::optional<double> memory_utilization;
  std::optional<int> num_blocks_override;
  bool enable_prefix_caching = true;
  bool disable_hybrid = false;
  std::optional<double> kv_offloading_size;
  std::string prefix_caching_hash_algo = "sha256";
  std::string prefix_caching_hash_seed = "0";

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("block-size",
            self.block_size,
            {.help = "Tokens per cache block", .unit = "tokens", .min = 1, .max = 1024});
    v.field("kv-cache-memory-bytes",
            self.kv_cache_memory_bytes,
            {.help = "Memory of the key/value cache; unset: what max-num-seqs sequences of "
                     "max-model-len tokens can use, at most what gpu-memory-utilization leaves",
             .unit = "bytes",
             .min = 1,
             .human_size = true});
    v.field("gpu-memory-utilization",
            self.memory_utilization,
            {.help = "Largest share of a GPU's memory that weights, buffers and the key/value cache may take "
                     "together (unset: 0.9); with the CPU backend the share of free RAM that the cache may take (unset: 0.5)",
             .min = 0.01,
             .max = 1});
    v.field("num-gpu-blocks-override",
            self.num_blocks_override,
            {.help = "Number of cache blocks, whatever the memory", .unit = "blocks", .min = 1});
    v.field("enable-prefix-caching",
            self.enable_prefix_caching,
            {.help = "Reuse the cache blocks of prompts that begin alike"});
    v.field("disable-hybrid-kv-cache-manager",
            self.disable_hybrid,
            {.help = "Keep keys and values of layers that see only a window or a chunk for whole sequences; "
                     "without, what they see no longer is given back"});
    v.field("kv-offloading-size",
            self.kv_offloading_size,
            {.help = "Memory of the host, of each rank, for blocks that the prefix cache has no room for: they are copied "
                     "back instead of computed; unset: none",
             .unit = "GiB",
             .min = 0.001});
    v.field("prefix-caching-hash-algo",
            self.prefix_caching_hash_algo,
            {.help = "How blocks are identified. sha256 means sha256_cbor; xxhash is faster, but "
                     "clients who do not trust each other should not share it",
             .choices = {"sha256", "sha256_cbor", "xxhash", "xxhash_cbor"}});
    v.field("prefix-caching-hash-seed",
            self.prefix_caching_hash_seed,
            {.help = "Seed of the block hashes; engines and routers that share hashes need the same",
             .environment = "PYTHONHASHSEED"});
  }
};

struct SchedulerSettings {
  int max_num_batched_tokens = 2048;
  int max_num_seqs = 128;
  int max_model_len = -1;
  bool enable_chunked_prefill = true;
  int long_prefill_token_threshold = 0;
  std::string scheduling_policy = "fcfs";
  int max_waiting_requests = 1024;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("max-num-batched-tokens",
            self.max_num_batched_tokens,
            {.help = "Most tokens computed in one step", .unit = "tokens", .min = 1,
             .human_size = true});
    v.field("max-num-seqs",
            self.max_num_seqs,
            {.help = "Most sequences computed at once", .unit = "sequences", .min = 1,
             .human_size = true});
    v.field("max-model-len",
            self.max_model_len,
            {.help = "Longest prompt plus output; auto: the model's limit, or what the cache holds",
             .unit = "tokens",
             .min = -1,
             .human_size = true,
             .auto_value = -1});
    v.field("enable-chunked-prefill",
            self.enable_chunked_prefill,
            {.help = "Compute long prompts over several steps, mixed with decoding"});
    v.field("long-prefill-token-threshold",
            self.long_prefill_token_threshold,
            {.help = "Most prompt tokens of one sequence in one step; 0: no limit of its own",
             .unit = "tokens",
             .min = 0,
             .human_size = true});
    v.field("scheduling-policy",
            self.scheduling_policy,
            {.help = "Order of waiting requests: arrival, or priority and then arrival",
             .choices = {"fcfs", "priority"}});
    v.field("max-waiting-requests",
            self.max_waiting_requests,
            {.help = "Requests that may wait; further ones are refused with status 429",
             .unit = "requests",
             .min = 1});
  }
};

struct SpeculativeSettings {
  static constexpr int kMostTokens = 32;

  std::optional<std::string> method;
  std::optional<int> num_speculative_tokens;
  std::optional<int> prompt_lookup_min;
  std::optional<int> prompt_lookup_max;
  std::optional<int> disable_by_batch_size;

  bool enabled() const { return method.has_value(); }
  bool uses_draft_module() const { return enabled() && *method != "ngram"; }
  // Most drafted tokens per sequence; 0 when off. A draft module was trained to guess one.
  int tokens() const { return enabled() ? num_speculative_tokens.value_or(1) : 0; }

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("method",
            self.method,
            {.help = "Guess several tokens and check them in one step; output stays the same. mtp or "
                     "deepseek_mtp: with the model's own module; ngram: by looking up what followed "
                     "the last tokens before; unset: off",
             .choices = {"mtp", "deepseek_mtp", "ngram"}});
    v.field("num-speculative-tokens",
            self.num_speculative_tokens,
            {.help = "Most tokens guessed at once; fewer are when that is faster. Unset: 1; ngram "
                     "needs a number",
             .unit = "tokens",
             .min = 1,
             .max = kMostTokens});
    v.field("prompt-lookup-min",
            self.prompt_lookup_min,
            {.help = "ngram: fewest tokens that must match; unset: prompt-lookup-max, or 5",
             .unit = "tokens",
             .min = 1});
    v.field("prompt-lookup-max",
            self.prompt_lookup_max,
            {.help = "ngram: most tokens that are compared; unset: prompt-lookup-min, or 5",
             .unit = "tokens",
             .min = 1});
    v.field("disable-by-batch-size",
            self.disable_by_batch_size,
            {.help = "Always guess num-speculative-tokens, but nothing while more sequences run; unset: "
                     "measure at start, and guess what promises the most tokens per second",
             .unit = "sequences",
             .min = 0});
  }
};

struct OverlapSettings {
  bool enable_dbo = false;
  int decode_token_threshold = 32;
  int prefill_token_threshold = 512;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("enable-dbo",
            self.enable_dbo,
            {.help = "With expert parallelism: compute a step as two micro-batches, one computing while "
                     "the other's tokens travel, when all ranks have enough tokens"});
    v.field("dbo-decode-token-threshold",
            self.decode_token_threshold,
            {.help = "Fewest tokens of a rank for that in a step that only decodes",
             .unit = "tokens",
             .min = 2});
    v.field("dbo-prefill-token-threshold",
            self.prefill_token_threshold,
            {.help = "Fewest tokens of a rank for that in any other step", .unit = "tokens", .min = 2});
  }
};

struct Settings {
  CacheSettings cache;
  SchedulerSettings scheduler;
  OverlapSettings overlap;
  SpeculativeSettings speculation;
  events::Settings events;
  transfer::Settings transfer;
  std::int64_t seed = 0;
  int max_logprobs = 20;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.group("Cache", self.cache);
    v.group("Scheduler", self.scheduler);
    v.group("Dual batch overlap", self.overlap);
    v.section("speculative-config", self.speculation, "Speculative decoding");
    v.section("kv-events-config", self.events, "Cache events");
    v.section("kv-transfer-config", self.transfer, "Transfer of keys and values");
    v.field("seed", self.seed, {.help = "Seed of requests that bring none"});
    v.field("max-logprobs",
            self.max_logprobs,
            {.help = "Most alternatives in logprobs and prompt_logprobs; -1: no limit", .min = -1});
  }
};

}  // namespace braid::engine
