// SPDX-License-Identifier: Apache-2.0
// What config.json of a Hugging Face model folder says, with each family's own key names resolved.
// Never hard-coded: a missing or impossible value is an error that names the key.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "ops/routing.h"

namespace braid::model {

// "rope_scaling" of type yarn (Peng et al. 2023); factor 1 means none.
struct RopeScaling {
  double factor = 1;
  std::int64_t original_positions = 0;
  double beta_fast = 32;
  double beta_slow = 1;
  double mscale = 1;
  double mscale_all_dim = 0;
  bool yarn() const { return factor != 1; }
};

// Which keys the queries of a layer see ("layer_types"); ops/attention.h has the exact words.
enum class LayerSpan {
  kFull,    // all up to their own
  kWindow,  // the last sliding_window
  kChunk,   // those of the own chunk of attention_chunk_size
};

struct MoeConfig {
  int experts = 0;
  int shared_experts = 0;
  int top_k = 0;
  int inter = 0;
  int first_dense = 0;  // layers before it are dense
  int step = 1;         // of the others, every step-th is a mixture
  std::vector<int> dense_layers;
  ops::Route::Problem routing;
  bool has_bias = false;
};

struct Config {
  std::string architecture;
  int vocab_size = 0;
  int hidden = 0;
  int layers = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;   // grouped-query attention
  int inter = 0;      // dense MLP
  int q_lora = 0;     // MLA; 0: a plain query projection
  int kv_lora = 0;
  int nope_dim = 0;
  int rope_dim = 0;
  int v_dim = 0;
  float rms_eps = 1e-6f;
  std::vector<LayerSpan> spans;  // of each layer; empty: all full
  int sliding_window = 0;
  int attention_chunk = 0;
  double rope_theta = 10000;
  RopeScaling rope_scaling;
  std::int64_t max_positions = 0;
  bool tied_embeddings = false;
  int mtp_layers = 0;
  int quant_block = 128;
  bool f8_activations = false;  // the checkpoint is meant for inputs rounded to e4m3 (activation_scheme "dynamic")
  std::vector<std::int32_t> eos_ids;
  MoeConfig moe;

  bool is_moe(int layer) const;
  // Those of a draft module, behind the layers, are full.
  LayerSpan span_of(int layer) const;
};

// Errors: bad JSON, an architecture that Braid does not have (named, with those it has).
Result<Config> parse_config(const std::string& json, const std::string& path);

}  // namespace braid::model
