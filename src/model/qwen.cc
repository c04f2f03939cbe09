// SPDX-License-Identifier: Apache-2.0
// Qwen2-MoE (2407.10671): biases on queries, keys and values, and a shared expert whose share of a token
// a gate decides. Qwen3 and Qwen3-MoE (2505.09388): queries and keys normalised, no shared expert.
#include <algorithm>

#include "model/families.h"

namespace braid::model {
namespace {

void read_experts(Reader& r, Config& c) {
  auto& m = c.moe;
  m.experts = r.positive("num_experts");
  m.top_k = r.positive("num_experts_per_tok");
  m.inter = r.positive("moe_intermediate_size");
  m.step = std::max(1, r.count("decoder_sparse_step", 1));
  m.dense_layers = r.numbers("mlp_only_layers");
  m.routing.normalise = r.flag("norm_topk_prob", false);
}

// Without "use_sliding_window" every layer is full, whatever else is said. Layers from `first` on are not.
void read_windows(Reader& r, Config& c, int first) {
  if (r.flag("use_sliding_window", false)) return read_window(r, c, first);
  c.spans.clear();
  c.sliding_window = 0;
}

void read_normalised_heads(Reader& r, Config& c) {
  read_heads(r, c);
  c.qkv_bias = c.o_bias = r.flag("attention_bias", false);
  c.head_norm = HeadNorm::kWeighted;
}

}  // namespace

void read_qwen2_moe(Reader& r, Config& c) {
  if (c.spans.empty() && r.flag("use_sliding_window", false)) r.fail("use_sliding_window: layer_types must say which layers see a window");
  read_windows(r, c, 0);
  read_heads(r, c);
  c.qkv_bias = r.flag("qkv_bias", true);
  read_experts(r, c);
  c.moe.shared_inter = r.positive("shared_expert_intermediate_size");
  c.moe.routing.shared_gate = true;
  c.names.shared = "shared_expert";
}

void read_qwen3(Reader& r, Config& c) {
  read_windows(r, c, r.count("max_window_layers", 28));
  read_normalised_heads(r, c);
}

void read_qwen3_moe(Reader& r, Config& c) {
  read_windows(r, c, 0);
  read_normalised_heads(r, c);
  read_experts(r, c);
}

}  // namespace braid::model
