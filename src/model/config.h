// SPDX-License-Identifier: Apache-2.0
// What config.json of a Hugging Face model folder says, with each family's own key names resolved.
// Never hard-coded: a missing or impossible value is an error that names the key.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "kv/layer_groups.h"
#include "ops/grouped_mlp.h"
#include "ops/routing.h"

namespace braid::model {

// "rope_scaling": frequencies stretched to a longer context: all by one factor, the yarn way (Peng et al. 2023) or Llama 3's.
struct RopeScaling {
  enum class Kind { kNone, kLinear, kYarn, kLlama3 };
  Kind kind = Kind::kNone;
  double factor = 1;
  std::int64_t original_positions = 0;
  double beta_fast = 32;
  double beta_slow = 1;
  double mscale = 1;
  double mscale_all_dim = 0;
  double attention_factor = 0; // of sines and cosines; 0: as the mscales say
  bool truncate = true;        // yarn: the range of dimensions is rounded outwards
  double low_freq_factor = 1;  // llama3
  double high_freq_factor = 1;
  bool yarn() const { return kind == Kind::kYarn && factor != 1; }
};

// Where the matrices of experts are.
enum class ExpertTensors {
  kSeparate,            // each for itself
  kTransposed,          // stacked; each [inputs, outputs], gates before ups in one matrix
  kAlternatingRows,     // stacked MXFP4 with biases; rows of gates and ups alternate in one matrix
  kAlternatingColumns,  // stacked with biases; each [inputs, outputs], columns of gates and ups alternate
};

// What checkpoints of one family call what others call otherwise.
struct TensorNames {
  std::string mlp = "mlp";        // of a layer
  std::string router = "gate";    // of a mixture
  std::string shared = "shared_experts";
  std::string gate = "gate_proj"; // of an MLP
  std::string up = "up_proj";
  std::string down = "down_proj";
  std::string root;               // before all names
  ExpertTensors experts = ExpertTensors::kSeparate;
};

// Which keys the queries of a layer see ("layer_types"); ops/attention.h has the exact words.
enum class LayerSpan {
  kFull,    // all up to their own
  kWindow,  // the last sliding_window
  kChunk,   // those of the own chunk of attention_chunk_size
};

// RMSNorm of the heads of queries and keys.
enum class HeadNorm { kNone, kWeighted, kPlain };

// Queries of layers that do not turn, at position p, are multiplied by 1 + scale ln(1 + floor((p + 1) / floor)).
struct Temperature {
  double scale = 0;
  double floor = 1;
};

struct MoeConfig {
  int experts = 0;
  int shared_inter = 0;  // of the shared expert; 0: none
  int top_k = 0;
  int inter = 0;
  int first_dense = 0;  // layers before it are dense
  int step = 1;         // of the others, every step-th is a mixture
  std::vector<int> dense_layers;
  ops::Route::Problem routing;
  bool scaled_inputs = false;  // a weight multiplies its expert's input
  bool router_bias = false;  // a part of the logits
  ops::Glu glu;
  bool has_bias = false;  // that takes part in choosing
};

struct Config {
  std::string architecture;
  int vocab_size = 0;
  int hidden = 0;
  int layers = 0;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;   // grouped-query attention, as what follows to sinks
  HeadNorm head_norm = HeadNorm::kNone;  // in layers that turn
  bool qkv_bias = false;
  bool o_bias = false;
  bool sinks = false;
  int inter = 0;      // dense MLP
  int q_lora = 0;     // MLA; 0: a plain query projection
  int kv_lora = 0;
  int nope_dim = 0;
  int rope_dim = 0;   // elements of a head that turn; in MLA behind nope_dim others, else the first
  int v_dim = 0;
  float rms_eps = 1e-6f;
  std::vector<LayerSpan> spans;  // of each layer; empty: all full
  int sliding_window = 0;
  int attention_chunk = 0;
  double rope_theta = 10000;
  double rotary_share = 0;  // of a head that turns; 0: not said
  bool interleaved_rope = false;   // pairs (2i, 2i + 1) turn, not (i, i + rope_dim / 2)
  std::vector<bool> still_layers;  // where nothing turns; empty: nowhere
  Temperature temperature;
  RopeScaling rope_scaling;
  std::int64_t max_positions = 0;
  bool tied_embeddings = false;
  int mtp_layers = 0;
  std::string quantization;     // for people; empty: none
  bool f8_activations = false;  // the checkpoint is meant for inputs rounded to e4m3 (activation_scheme "dynamic")
  std::vector<std::int32_t> eos_ids;
  MoeConfig moe;
  TensorNames names;

  bool is_moe(int layer) const;
  bool turns(int layer) const;
  // Before the names of a layer's tensors: "model.layers.3".
  std::string layer_name(int layer) const;
  // Those of a draft module, behind the layers, are full.
  LayerSpan span_of(int layer) const;
  kv::KeySpan keys_of(int layer) const;
};

// Errors: bad JSON, an architecture that Braid does not have (named, with those it has).
Result<Config> parse_config(const std::string& json, const std::string& path);

}  // namespace braid::model
