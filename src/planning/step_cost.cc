// SPDX-License-Identifier: Apache-2.0
#include "planning/step_cost.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace braid::planning {
namespace {

double joined(double a, double b, double exponent) {
  const double most = std::max(a, b);
  return most <= 0 ? 0 : most * std::pow(std::pow(a / most, exponent) + std::pow(b / most, exponent), 1 / exponent);
}

// Adds a multiplication, to the resource that it waits for longer.
void multiply(StepTime& time, const Rates& rates, bool fp8, double weight_bytes, double flops) {
  const double read = weight_bytes / rates.bandwidth, compute = flops / (fp8 ? rates.fp8_flops : rates.flops);
  time[read > compute ? Resource::kWeights : Resource::kArithmetic] += joined(read, compute, rates.overlap);
}

double attention_time(const Rates& rates, double bytes, double flops) {
  return joined(bytes / rates.cache_bandwidth, flops / rates.attention_flops, rates.overlap);
}

double crossing(const Link& link, double bytes) { return bytes > 0 ? link.latency + bytes / link.bandwidth : 0; }

// There and back of one layer.
double exchange_time(const ModelShape& m, const Exchange& x, double rows) {
  if (x.ranks <= 1) return 0;
  const int near = std::min(x.ranks, x.ranks_per_node);
  const double in_node = remote_copies(m, x.ranks, near);
  const double far = remote_copies(m, x.ranks, x.ranks) - in_node;
  double seconds = 0;
  for (const double element : {x.dispatch_bytes, 2.0}) {
    const double row = m.hidden * element * rows;
    seconds += std::max(crossing(x.node, row * in_node), crossing(x.fabric, row * far));
  }
  return seconds;
}

}  // namespace

std::string_view name_of(Resource resource) {
  constexpr std::string_view names[] = {"launches", "weights", "arithmetic", "attention", "activations", "network", "host"};
  return names[static_cast<std::size_t>(resource)];
}

double StepTime::seconds() const { return std::accumulate(parts.begin(), parts.end(), 0.0) - hidden; }

Resource StepTime::limit() const {
  return static_cast<Resource>(std::max_element(parts.begin(), parts.end()) - parts.begin());
}

ModelShape shape_of(const model::Config& c, bool fp8) {
  ModelShape m;
  const double h = c.hidden, heads = c.heads, qk = c.nope_dim + c.rope_dim;
  m.layers = c.layers;
  for (int layer = 0; layer < c.layers; ++layer) m.moe_layers += c.is_moe(layer);
  m.hidden = h;
  if (c.kv_lora > 0) {
    const double query = c.q_lora > 0 ? h * c.q_lora + c.q_lora * heads * qk : h * heads * qk;
    m.attention = query + h * (c.kv_lora + c.rope_dim) + c.kv_lora * heads * (c.nope_dim + c.v_dim) + heads * c.v_dim * h;
    m.cache_row = 2.0 * (c.kv_lora + c.rope_dim);
    m.decode_flops = 2 * heads * (2.0 * c.kv_lora + c.rope_dim);
    m.prefill_flops = 2 * heads * (qk + c.v_dim);
  } else {
    m.attention = h * (heads + 2.0 * c.kv_heads) * c.head_dim + heads * c.head_dim * h;
    m.cache_row = 4.0 * c.kv_heads * c.head_dim;
    m.decode_flops = m.prefill_flops = 4 * heads * c.head_dim;
  }
  m.dense = 3 * h * c.inter;
  m.experts = c.moe.experts;
  m.top_k = c.moe.top_k;
  m.expert = 3 * h * c.moe.inter;
  m.shared = 3 * h * c.moe.shared_inter + h * m.experts;
  m.vocabulary = c.vocab_size;
  m.head = h * m.vocabulary;
  m.fp8 = fp8;
  return m;
}

double remote_copies(const ModelShape& m, int ranks, int ranks_in_reach) {
  if (ranks <= 1 || m.experts <= 0) return 0;
  // No expert of one rank among the top_k, drawn without replacement.
  const double here = m.experts / ranks;
  double none = 1;
  for (int k = 0; k < static_cast<int>(m.top_k); ++k) none *= std::max(0.0, m.experts - here - k) / (m.experts - k);
  return (ranks_in_reach - 1) * (1 - none);
}

StepTime step_time(const ModelShape& m, const Rates& rates, const Exchange& x, const RankWork& work, double all_rows) {
  StepTime time;
  const double rows = work.rows(), bytes = m.weight_bytes(), dense_layers = m.layers - m.moe_layers;
  if (all_rows <= 0) return time;
  time[Resource::kFixed] = rates.step + rates.layer * m.layers;
  if (rows > 0) {
    multiply(time, rates, m.fp8, bytes * m.attention * m.layers, 2 * m.attention * m.layers * rows);
    if (dense_layers > 0) multiply(time, rates, m.fp8, bytes * m.dense * dense_layers, 2 * m.dense * dense_layers * rows);
    if (m.moe_layers > 0) multiply(time, rates, m.fp8, bytes * m.shared * m.moe_layers, 2 * m.shared * m.moe_layers * rows);
    multiply(time, rates, false, 2 * m.head, 2 * m.head * work.logits);
    if (rates.host_bandwidth > 0) time[Resource::kHost] = 4 * m.vocabulary * work.logits / rates.host_bandwidth;
  }
  const double routed = all_rows * m.top_k / x.ranks * x.imbalance;
  if (m.moe_layers > 0) {
    const double touched = m.experts / x.ranks * (1 - std::pow(1 - m.top_k / m.experts, all_rows));
    multiply(time, rates, m.fp8, bytes * m.expert * touched * m.moe_layers, 2 * m.expert * routed * m.moe_layers);
  }
  time[Resource::kAttention] = m.layers * (attention_time(rates, work.decode_keys * m.cache_row, work.decode_keys * m.decode_flops) +
                                           work.prefill_pairs * m.prefill_flops / rates.attention_flops);
  time[Resource::kActivations] = rates.row_passes * 2 * m.hidden * m.layers * rows / rates.bandwidth;
  time[Resource::kNetwork] = m.moe_layers * exchange_time(m, x, std::max(rows, all_rows / x.ranks));
  if (x.overlapped && x.ranks > 1) {
    const double network = time[Resource::kNetwork];
    const double others = time.seconds() - network - time[Resource::kFixed];
    // The second micro-batch reads the weights again.
    time[Resource::kWeights] *= 2;
    time[Resource::kFixed] *= 2;
    time.hidden = std::min(network, others);
  }
  return time;
}

}  // namespace braid::planning
