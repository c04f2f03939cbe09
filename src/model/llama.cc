// SPDX-License-Identifier: Apache-2.0
// Llama 2 and 3 (2407.21783): grouped-query attention and a dense MLP. Mixtral (2401.04088): the same
// with routed experts.
#include "model/families.h"

namespace braid::model {

void read_llama(Reader& r, Config& c) {
  r.refuse("mlp_bias");
  read_heads(r, c);
  c.qkv_bias = c.o_bias = r.flag("attention_bias", false);
}

void read_mixtral(Reader& r, Config& c) {
  if (r.count("sliding_window", 0) > 0) read_window(r, c, 0);
  read_heads(r, c);
  auto& m = c.moe;
  m.experts = r.positive("num_local_experts");
  m.top_k = r.positive("num_experts_per_tok");
  m.inter = c.inter;
  m.routing.normalise = true;
  c.names.mlp = "block_sparse_moe";
  c.names.gate = "w1";
  c.names.up = "w3";
  c.names.down = "w2";
}

}  // namespace braid::model
