// SPDX-License-Identifier: Apache-2.0
#include "serve/dashboard_data.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/version.h"
#include "metrics/samples.h"

namespace braid::serve {
namespace {

using Json = nlohmann::ordered_json;
using metrics::Sample;
using metrics::Samples;

std::string label(const Sample& sample, const char* name) {
  const auto found = sample.labels.find(name);
  return found == sample.labels.end() ? std::string() : found->second;
}

// Label values that are numbers, in their order.
std::vector<std::string> numbered(const Samples& samples, const char* metric, const char* name) {
  std::vector<std::string> values;
  for (const Sample* s : samples.named(metric)) values.push_back(label(*s, name));
  std::sort(values.begin(), values.end(), [](const auto& a, const auto& b) { return std::atoi(a.c_str()) < std::atoi(b.c_str()); });
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

Json moe_json(const Samples& samples, const std::string& rank) {
  const auto sum = [&](const char* name) { return samples.sum(name, "engine", rank); };
  Json json = {{"dispatches", sum("braid:moe_dispatches_total")},
               {"dispatch_seconds", sum("braid:moe_dispatch_seconds_total")},
               {"combine_seconds", sum("braid:moe_combine_seconds_total")},
               {"dispatched_bytes", sum("braid:moe_dispatched_bytes_total")},
               {"returned_bytes", sum("braid:moe_returned_bytes_total")},
               {"wait_seconds", Json::object()}};
  for (const Sample* s : samples.named("braid:moe_wait_seconds_total")) {
    if (label(*s, "engine") == rank) json["wait_seconds"][label(*s, "peer")] = s->value;
  }
  return json;
}

Json rank_json(const Samples& samples, const std::string& rank) {
  const auto sum = [&](const char* name) { return samples.sum(name, "engine", rank); };
  return {{"rank", rank},
          {"healthy", sum("vllm:engine_healthy") > 0},
          {"running", sum("vllm:num_requests_running")},
          {"waiting", sum("vllm:num_requests_waiting")},
          {"kv_usage", sum("vllm:kv_cache_usage_perc")},
          {"kv_blocks_used", sum("braid:kv_blocks_used")},
          {"prompt_tokens", sum("vllm:prompt_tokens_total")},
          {"generation_tokens", sum("vllm:generation_tokens_total")},
          {"prefix_queries", sum("vllm:prefix_cache_queries_total")},
          {"prefix_hits", sum("vllm:prefix_cache_hits_total")},
          {"preemptions", sum("vllm:num_preemptions_total")},
          {"moe", moe_json(samples, rank)}};
}

Json experts_json(const Samples& samples) {
  const auto list = [&](const char* metric, const char* name) {
    Json values = Json::array();
    for (const std::string& value : numbered(samples, metric, name)) values.push_back(samples.sum(metric, name, value));
    return values;
  };
  Json balance = Json::array();
  for (const std::string& layer : numbered(samples, "braid:eplb_balancedness", "layer")) {
    balance.push_back({layer, samples.sum("braid:eplb_balancedness", "layer", layer)});
  }
  return {{"rows", list("braid:eplb_expert_rows", "expert")}, {"rank_rows", list("braid:eplb_rank_rows", "rank")}, {"balancedness", balance}};
}

Json deployment_json(Context& context, std::size_t ranks) {
  DeploymentState state{.ranks = static_cast<int>(ranks), .missing = {}, .scaling = false};
  if (context.parts.deployment != nullptr) state = context.parts.deployment->state();
  return {{"ranks", state.ranks}, {"missing", state.missing}, {"scaling", state.scaling}};
}

}  // namespace

std::string dashboard_data(Context& context) {
  const Samples samples = Samples::parse(context.parts.metrics_text());
  Json ranks = Json::array();
  for (const std::string& rank : numbered(samples, "vllm:num_requests_running", "engine")) ranks.push_back(rank_json(samples, rank));
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  Json json = {{"kind", "engine"},
               {"version", version()},
               {"model", context.model_names.front()},
               {"now_ms", std::chrono::duration<double, std::milli>(now).count()},
               {"uptime_seconds", context.now_seconds() - context.started},
               {"draining", context.draining.load()},
               {"deployment", deployment_json(context, ranks.size())},
               {"ranks", std::move(ranks)},
               {"experts", experts_json(samples)}};
  json["latency"] = {{"ttft", Json::parse(metrics::cumulative_json(samples, "vllm:time_to_first_token_seconds"))},
                     {"itl", Json::parse(metrics::cumulative_json(samples, "vllm:inter_token_latency_seconds"))}};
  std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.pop_back();
  return text + ",\"requests\":" + context.requests.json(std::chrono::steady_clock::now()) + "}";
}

}  // namespace braid::serve
