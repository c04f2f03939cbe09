// SPDX-License-Identifier: Apache-2.0
// GLM-4.5 and 4.6 (2508.06471): grouped-query attention that turns the first part of each head, experts
// chosen as DeepSeek-V3 does, and its kind of draft module.
#include <algorithm>

#include "model/families.h"

namespace braid::model {

void read_glm4_moe(Reader& r, Config& c) {
  read_heads(r, c);
  c.qkv_bias = r.flag("attention_bias", false);
  c.head_norm = r.flag("use_qk_norm", false) ? HeadNorm::kWeighted : HeadNorm::kNone;
  c.rope_dim = static_cast<int>(c.head_dim * (c.rotary_share > 0 ? c.rotary_share : 0.5));
  c.mtp_layers = r.count("num_nextn_predict_layers", 0);
  auto& m = c.moe;
  m.experts = r.positive("n_routed_experts");
  m.top_k = r.positive("num_experts_per_tok");
  m.inter = r.positive("moe_intermediate_size");
  m.shared_inter = r.count("n_shared_experts", 0) * m.inter;
  m.first_dense = r.count("first_k_dense_replace", 0);
  m.has_bias = true;
  m.routing.scoring = ops::Scoring::kSigmoid;
  m.routing.group_score = ops::GroupScore::kSumOfTopTwo;
  m.routing.groups = std::max(1, r.count("n_group", 1));
  m.routing.topk_groups = std::max(1, r.count("topk_group", 1));
  m.routing.normalise = r.flag("norm_topk_prob", true);
  m.routing.scale = static_cast<float>(r.number("routed_scaling_factor", 1, 0, 1e6));
}

}  // namespace braid::model
