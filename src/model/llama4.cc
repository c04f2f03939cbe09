// SPDX-License-Identifier: Apache-2.0
// The language model of Llama 4. Layers that turn queries and keys normalise them without weights and see
// the keys of their own chunk; every few layers one does neither, sees all, and scales queries by their
// position. An expert's weight multiplies what goes into it.
#include <algorithm>

#include "model/families.h"

namespace braid::model {
namespace {

void read_attention(Reader& r, Config& c) {
  read_heads(r, c);
  c.qkv_bias = c.o_bias = r.flag("attention_bias", false);
  c.head_norm = r.flag("use_qk_norm", true) ? HeadNorm::kPlain : HeadNorm::kNone;
  c.interleaved_rope = true;
  std::vector<int> turns = r.numbers("no_rope_layers");  // 1 says that a layer turns
  const int still_every = std::max(1, r.count("no_rope_layer_interval", 4));
  for (int i = 0; turns.empty() && i < c.layers; ++i) c.still_layers.push_back((i + 1) % still_every == 0);
  for (const int turn : turns) c.still_layers.push_back(turn == 0);
  if (static_cast<int>(c.still_layers.size()) < c.layers) r.fail("no_rope_layers: expected an entry for each of " + std::to_string(c.layers) + " layers");
  c.attention_chunk = r.count("attention_chunk_size", 0);
  const bool said = !c.spans.empty();
  for (int i = 0; !said && i < c.layers; ++i) c.spans.push_back(c.turns(i) && c.attention_chunk > 0 ? LayerSpan::kChunk : LayerSpan::kFull);
  if (!r.truth("attn_temperature_tuning", true)) return;
  c.temperature = {r.number("attn_scale", 0.1, 0, 1e6), r.number("floor_scale", 8192, 1, 1e9)};
}

}  // namespace

void read_llama4(Reader& r, Config& c) {
  read_attention(r, c);
  auto& m = c.moe;
  m.experts = r.positive("num_local_experts");
  m.top_k = r.positive("num_experts_per_tok");
  if (m.top_k != 1) r.fail("num_experts_per_tok: expected 1, found " + std::to_string(m.top_k));
  m.inter = m.shared_inter = c.inter;
  const std::vector<int> mixtures = r.numbers("moe_layers");
  m.step = mixtures.empty() ? std::max(1, r.count("interleave_moe_layer_step", 1)) : 1;
  for (int i = 0; !mixtures.empty() && i < c.layers; ++i) {
    if (std::find(mixtures.begin(), mixtures.end(), i) == mixtures.end()) m.dense_layers.push_back(i);
  }
  m.scaled_inputs = true;
  m.routing.scoring = ops::Scoring::kSigmoid;
  c.inter = r.count("intermediate_size_mlp", 0);
  c.names.root = "language_model.";
  c.names.mlp = "feed_forward";
  c.names.router = "router";
  c.names.shared = "shared_expert";
  c.names.experts = ExpertTensors::kTransposed;
}

}  // namespace braid::model
