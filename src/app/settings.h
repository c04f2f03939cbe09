// SPDX-License-Identifier: Apache-2.0
// All settings of `braid serve`: the model's own here, the others from their layers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/describe.h"
#include "engine/settings.h"
#include "serve/settings.h"
#include "tracing/settings.h"

namespace braid::app {

// --backend simulated; see model/simulated.h.
struct SimulatedSettings {
  std::string ttft_ms = "1:8,1000:40,10000:400";
  std::string itl_ms = "1:6,32:8,256:20";
  int mean_output_tokens = 0;
  std::int64_t fail_at_step = 0;
  std::int64_t hang_at_step = 0;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("ttft-ms", self.ttft_ms,
            {.help = "Time to the first token of a prompt alone: points tokens:milliseconds, straight lines between"});
    v.field("itl-ms", self.itl_ms, {.help = "Time of a decoding step: points sequences:milliseconds"});
    v.field("mean-output-tokens", self.mean_output_tokens,
            {.help = "Answers end by themselves after so many on average; 0: only at their limit", .unit = "tokens", .min = 0});
    v.field("fail-at-step", self.fail_at_step, {.help = "The engine dies in this step; 0: never", .unit = "steps", .min = 0});
    v.field("hang-at-step", self.hang_at_step, {.help = "No step ends from this one on; 0: never", .unit = "steps", .min = 0});
  }
};

struct ModelSettings {
  std::string model;
  std::string backend = "auto";
  SimulatedSettings simulated;
  std::optional<std::string> tokenizer;
  std::string dtype = "auto";
  std::string quantization = "auto";
  std::string load_format = "auto";
  bool skip_tokenizer_init = false;
  std::string generation_config = "auto";
  config::JsonObject override_generation_config;
  std::string device = "auto";
  std::string kv_cache_dtype = "auto";
  std::string cpu_activations = "bf16";
  std::string gpu_activations = "auto";
  int cpu_threads = 0;
  std::vector<std::string> kernel;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("model", self.model, {.help = "Hugging Face model folder on disk"});
    v.field("backend", self.backend,
            {.help = "simulated: no weights, steps only take their time, and answers are words without a meaning; for "
                     "trying routers and clusters. The folder needs config.json and a tokenizer",
             .choices = {"auto", "simulated"}});
    v.section("simulated", self.simulated, "What simulated steps take, and how they fail");
    v.field("tokenizer", self.tokenizer, {.help = "Folder of tokenizer.json (or tiktoken.model) and tokenizer_config.json; unset: the model's"});
    v.field("dtype", self.dtype,
            {.help = "Arithmetic: bfloat16 (auto), or float32 for everything, weights too",
             .choices = {"auto", "bfloat16", "float32"}});
    v.field("quantization", self.quantization,
            {.help = "fp8: projections and experts of a checkpoint that is not quantised become e4m3 while they are read, with a "
                     "scale for each 128 x 128 block; auto: weights stay as they are stored",
             .choices = {"auto", "fp8"}});
    v.field("load-format", self.load_format,
            {.help = "dummy: random weights made from config.json alone", .choices = {"auto", "safetensors", "dummy"}});
    v.field("skip-tokenizer-init", self.skip_tokenizer_init, {.help = "No tokenizer: requests bring token ids"});
    v.field("generation-config", self.generation_config,
            {.help = "auto: sampling defaults of generation_config.json; vllm: none", .choices = {"auto", "vllm"}});
    v.field("override-generation-config", self.override_generation_config,
            {.help = "Sampling defaults on top of those, as a JSON object: {\"temperature\": 0.5}"});
    v.field("device", self.device,
            {.help = "Where the model runs; auto: on a GPU if there is one that works", .choices = {"auto", "cpu", "cuda"}});
    v.field("kv-cache-dtype", self.kv_cache_dtype,
            {.help = "fp8 (fp8_e4m3): keys and values are kept as e4m3 with a scale for each head, or each 128 elements of a latent row, "
                     "in about half the memory. auto: as dtype says",
             .choices = {"auto", "fp8", "fp8_e4m3"}});
    v.field("cpu-activations", self.cpu_activations,
            {.help = "int8: activations and weights requantised, faster prefill, other results", .choices = {"bf16", "int8"}});
    v.field("gpu-activations", self.gpu_activations,
            {.help = "fp8: inputs of FP8 weights are rounded to e4m3, with a scale for each 128; auto: where the model's "
                     "activation_scheme is dynamic; bf16: never, slower",
             .choices = {"auto", "bf16", "fp8"}});
    v.field("cpu-threads", self.cpu_threads, {.help = "Worker threads; 0: one per usable processor", .min = 0, .max = 1024});
    v.field("kernel", self.kernel, {.help = "Kernels to force: a tier (avx2), or one for an operation (linear=avx2)"});
  }
};

// Names are those of vLLM's --eplb-config; load_file is Braid's.
struct EplbSettings {
  int window_size = 1000;
  int step_interval = 3000;
  int num_redundant_experts = 0;
  bool log_balancedness = false;
  int log_balancedness_interval = 1;
  bool use_async = true;
  std::string policy = "default";
  std::optional<std::string> communicator;
  std::string load_file;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("window-size", self.window_size, {.help = "Latest steps whose loads count", .unit = "steps", .min = 1, .max = 1000000});
    v.field("step-interval", self.step_interval,
            {.help = "Steps from one rearrangement of the experts to the next; the first comes after a quarter of them",
             .unit = "steps", .min = 1, .max = 1e9});
    v.field("num-redundant-experts", self.num_redundant_experts,
            {.help = "Slots for further copies of busy experts, over all ranks", .min = 0, .max = 65536});
    v.field("log-balancedness", self.log_balancedness, {.help = "Log how even the loads of the ranks are"});
    v.field("log-balancedness-interval", self.log_balancedness_interval,
            {.help = "Steps between such lines", .unit = "steps", .min = 1, .max = 1e9});
    v.field("use-async", self.use_async, {.help = "Move weights beside serving, a layer at a time; otherwise serving waits"});
    v.field("policy", self.policy,
            {.help = "default: hierarchical when the nodes divide the model's groups of experts, else global", .choices = {"default"}});
    v.field("communicator", self.communicator,
            {.help = "Taken for compatibility: weights always travel over the transport of the ranks",
             .choices = {"torch_nccl", "torch_gloo", "nixl", "pynccl"}});
    v.field("load-file", self.load_file,
            {.help = "File for the measured loads, read by braid bench eplb; written at every rearrangement"});
  }
};

struct ParallelSettings {
  int size = 1;
  std::optional<int> size_local;
  int start_rank = 0;
  std::string address = "127.0.0.1";
  int rpc_port = 29550;
  std::string secret;
  std::string host;
  int network_gbits = 0;
  bool headless = false;
  std::optional<int> rank;
  bool hybrid_lb = false;
  bool external_lb = false;
  bool multi_port_external_lb = false;
  int supervisor_port = 9256;
  double probe_interval_seconds = 5;
  double probe_timeout_seconds = 5;
  int probe_failure_threshold = 3;
  bool enable_expert_parallel = false;
  std::string all2all_backend = "auto";
  std::string all2all_payload = "auto";
  bool enable_eplb = false;
  EplbSettings eplb;
  bool deterministic = false;
  int moe_buffer_tokens = 1024;
  int rank_timeout_seconds = 2;
  int rank_start_timeout_seconds = 3600;
  int step_timeout_seconds = 60;
  bool enable_elastic_ep = false;

  // Ranks that share this host, and so its processors and memory.
  int local_size() const { return size_local.value_or(rank ? 1 : size - start_rank); }

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("data-parallel-size", self.size,
            {.help = "Ranks: each is a process with its own requests and cache", .min = 1, .max = 512, .short_name = "dp"});
    v.field("data-parallel-size-local", self.size_local,
            {.help = "Ranks on this host; unset: all from data-parallel-start-rank on, or the one of data-parallel-rank; 0: a headless host that "
                     "waits for ranks to be added",
             .min = 0, .max = 512, .short_name = "dpl"});
    v.field("data-parallel-start-rank", self.start_rank, {.help = "First rank on this host", .min = 0, .max = 511, .short_name = "dpr"});
    v.field("data-parallel-address", self.address,
            {.help = "Address of the leading host, where its serving process listens for ranks", .short_name = "dpa"});
    v.field("data-parallel-rpc-port", self.rpc_port, {.help = "Port there, when there are other hosts or servers", .min = 1, .max = 65535, .short_name = "dpp"});
    v.field("data-parallel-secret", self.secret,
            {.help = "Word that ranks of other hosts must know; unset: a new one, for ranks of this host only",
             .secret = true});
    v.field("data-parallel-host", self.host,
            {.help = "Name of this host; ranks of one name share memory. Unset: told by kernel, PID and network namespace"});
    v.field("network-gbits", self.network_gbits,
            {.help = "Rate that the network between hosts should reach; 0: what its interface says", .unit = "Gbit/s", .min = 0, .max = 1000000});
    v.field("headless", self.headless, {.help = "Only ranks for the leading host, no HTTP server"});
    v.field("data-parallel-rank", self.rank,
            {.help = "External load balancing: this process starts and serves this rank alone; the one of rank 0 leads", .min = 0, .max = 511,
             .short_name = "dpn"});
    v.field("data-parallel-hybrid-lb", self.hybrid_lb,
            {.help = "Every host has a server, which hands requests to the ranks of its host", .short_name = "dph"});
    v.field("data-parallel-external-lb", self.external_lb,
            {.help = "What data-parallel-rank means anyway; taken for compatibility", .short_name = "dpe"});
    v.field("data-parallel-multi-port-external-lb", self.multi_port_external_lb,
            {.help = "Start a server for every rank of this host, on the ports from port on, and watch them", .short_name = "dpm"});
    v.field("data-parallel-supervisor-port", self.supervisor_port,
            {.help = "Port on which /health and /readyz speak for all those servers; 0: any free one", .min = 0, .max = 65535});
    v.field("dp-supervisor-probe-interval-s", self.probe_interval_seconds,
            {.help = "Time from one look at a server to the next", .unit = "seconds", .min = 0.01, .max = 3600});
    v.field("dp-supervisor-probe-timeout-s", self.probe_timeout_seconds,
            {.help = "A server that has not answered by then has failed a probe", .unit = "seconds", .min = 0.01, .max = 3600});
    v.field("dp-supervisor-probe-failure-threshold", self.probe_failure_threshold,
            {.help = "Failed probes in a row after which a server counts as unhealthy", .min = 1, .max = 1000});
    v.field("enable-expert-parallel", self.enable_expert_parallel,
            {.help = "Spread the experts over the ranks; otherwise every rank holds all", .short_name = "ep"});
    v.field("all2all-backend", self.all2all_backend,
            {.help = "How tokens travel to their experts: auto, low_latency, high_throughput, flexible, "
                     "allgather_reducescatter, or vLLM's deepep_low_latency, deepep_high_throughput, pplx"});
    v.field("all2all-payload", self.all2all_payload,
            {.help = "What rows look like on their way. auto: as the activations, results as bfloat16 where these are; "
                     "exact: results as float32; fp8: activations as e4m3 with a scale for 128 columns",
             .choices = {"auto", "exact", "fp8"}});
    v.field("enable-eplb", self.enable_eplb,
            {.help = "Expert load balancing: move and repeat experts so that the ranks have equal work"});
    v.section("eplb-config", self.eplb, "Expert load balancing");
    v.field("deterministic", self.deterministic,
            {.help = "With expert parallelism: results are bit for bit those of one rank, at the cost of more bytes"});
    v.field("moe-buffer-tokens", self.moe_buffer_tokens,
            {.help = "Most tokens that a rank dispatches at once; larger steps go in chunks", .unit = "tokens", .min = 1, .max = 1000000});
    v.field("rank-timeout", self.rank_timeout_seconds,
            {.help = "A rank that gives no sign of life for so long is lost: its requests go on on the others", .unit = "seconds",
             .min = 1, .max = 86400});
    v.field("rank-start-timeout", self.rank_start_timeout_seconds,
            {.help = "Longest wait for ranks to start and to form a group, at the start and when some are added", .unit = "seconds",
             .min = 1, .max = 86400});
    v.field("step-timeout", self.step_timeout_seconds,
            {.help = "Longest wait for another rank inside a step", .unit = "seconds", .min = 1, .max = 86400});
    v.field("enable-elastic-ep", self.enable_elastic_ep,
            {.help = "Run even a single rank as a process of its own, so that POST /scale_elastic_ep can add others; with a data-parallel-secret "
                     "hosts that had no part in the start may join"});
  }
};

struct ServeSettings {
  ModelSettings model;
  ParallelSettings parallel;
  engine::Settings engine;
  serve::Settings serve;
  tracing::Settings tracing;
  std::string log_level = "info";
  std::string log_format = "human";

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.group("Model", self.model);
    v.group("Parallelism", self.parallel);
    v.group("Engine", self.engine);
    v.group("HTTP", self.serve);
    v.group("Tracing", self.tracing);
    v.field("log-level", self.log_level, {.help = "Least level logged", .choices = {"debug", "info", "warning", "error"}});
    v.field("log-format", self.log_format, {.help = "One line an event, for people or machines", .choices = {"human", "json"}});
  }
};

}  // namespace braid::app
