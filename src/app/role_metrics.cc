// SPDX-License-Identifier: Apache-2.0
#include "app/role_metrics.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <utility>

namespace braid::app {
namespace {

double total(const metrics::Samples& page, std::string_view name) {
  double sum = 0;
  for (const auto* sample : page.named(name)) sum += sample->value;
  return sum;
}

using Histogram = std::map<double, double>;  // counts by upper bound, of a time between two looks

Histogram counted(const Histogram& before, const Histogram& now) {
  Histogram counts;
  for (const auto& [bound, all] : now) {
    const auto old = before.find(bound);
    counts[bound] = all - (old == before.end() ? 0 : old->second);
  }
  return counts;
}

// The bound below which `share` of them lies.
std::optional<double> quantile(const Histogram& counts, double share) {
  if (counts.empty() || counts.rbegin()->second <= 0) return std::nullopt;
  const double wanted = share * counts.rbegin()->second;
  double last_bound = 0, last_count = 0;
  for (const auto& [bound, here] : counts) {
    if (here >= wanted) {
      if (bound == std::numeric_limits<double>::infinity()) return last_bound;
      const double within = here > last_count ? (wanted - last_count) / (here - last_count) : 1;
      return last_bound + within * (bound - last_bound);
    }
    last_bound = bound;
    last_count = here;
  }
  return last_bound;
}

// How many lie above `limit`, as if those of a bucket were spread evenly over it.
double above(const Histogram& counts, double limit) {
  if (counts.empty()) return 0;
  double last_bound = 0, last_count = 0;
  for (const auto& [bound, here] : counts) {
    if (bound >= limit) {
      const bool open = bound == std::numeric_limits<double>::infinity();
      const double within = open ? 0 : (limit - last_bound) / (bound - last_bound);
      return counts.rbegin()->second - (last_count + within * (here - last_count));
    }
    last_bound = bound;
    last_count = here;
  }
  return 0;
}

}  // namespace

std::optional<autoscale::RoleObservation> RoleMetrics::look(double now, const std::map<std::string, std::string>& pages, int expected, Replicas replicas) {
  if (pages.empty() || static_cast<int>(pages.size()) < expected) return std::nullopt;
  Totals totals{.at = now};
  autoscale::RoleObservation seen;
  int samples = 0;
  for (const auto& [name, text] : pages) {
    const auto page = metrics::Samples::parse(text);
    const int here = static_cast<int>(page.named("vllm:num_requests_running").size());
    if (here == 0) return std::nullopt;
    samples += here;
    seen.waiting += total(page, "vllm:num_requests_waiting");
    seen.running += total(page, "vllm:num_requests_running");
    seen.cache_use += total(page, "vllm:kv_cache_usage_perc");
    totals.prompts += page.sum("vllm:prompt_tokens_by_source_total", "source", "local_compute");
    totals.outputs += total(page, "vllm:generation_tokens_total");
    totals.requests += total(page, "vllm:request_prompt_tokens_count");
    totals.token_time_sum += total(page, "vllm:inter_token_latency_seconds_sum");
    totals.token_times += total(page, "vllm:inter_token_latency_seconds_count");
    totals.prefill_sum += total(page, "vllm:request_prefill_time_seconds_sum");
    for (const auto* bucket : page.named("vllm:time_to_first_token_seconds_bucket")) {
      const auto bound = bucket->labels.find("le");
      if (bound != bucket->labels.end()) totals.first_tokens[std::strtod(bound->second.c_str(), nullptr)] += bucket->value;
    }
  }
  seen.ready = replicas.ranks ? samples : static_cast<int>(pages.size()) / replicas.pages;
  if (seen.ready == 0) return std::nullopt;
  seen.cache_use /= samples;
  const auto before = std::exchange(before_, totals);
  const double seconds = before ? now - before->at : 0;
  if (!before || seconds <= 0 || totals.prompts < before->prompts || totals.outputs < before->outputs) return std::nullopt;
  seen.prompt_rate = (totals.prompts - before->prompts) / seconds;
  seen.output_rate = (totals.outputs - before->outputs) / seconds;
  const double requests = totals.requests - before->requests;
  seen.arrivals = requests / seconds;
  if (requests > 0) {
    seen.prompt_tokens = (totals.prompts - before->prompts) / requests;
    seen.output_tokens = (totals.outputs - before->outputs) / requests;
  }
  const double gaps = totals.token_times - before->token_times;
  if (gaps > 0) seen.token_time = (totals.token_time_sum - before->token_time_sum) / gaps;
  seen.busy = std::min(1.0, (totals.prefill_sum - before->prefill_sum) / seconds / seen.ready);
  const Histogram first_tokens = counted(before->first_tokens, totals.first_tokens);
  seen.first_token = quantile(first_tokens, 0.9);
  seen.started = first_tokens.empty() ? 0 : first_tokens.rbegin()->second;
  seen.late = above(first_tokens, first_token_);
  return seen;
}

}  // namespace braid::app
