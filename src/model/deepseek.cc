// SPDX-License-Identifier: Apache-2.0
// DeepSeek-V2 (2405.04434), DeepSeek-V3/R1 (2412.19437) and Kimi K2: latent attention, then a dense
// MLP in the first layers and routed plus shared experts in the others.
#include <algorithm>

#include "model/attention_mla.h"
#include "model/decoder_model.h"
#include "model/families.h"

namespace braid::model {
namespace {

void read_attention(Reader& r, Config& c) {
  r.refuse("attention_bias");
  c.q_lora = r.count("q_lora_rank", 0);
  c.kv_lora = r.positive("kv_lora_rank");
  c.nope_dim = r.positive("qk_nope_head_dim");
  c.rope_dim = r.positive("qk_rope_head_dim");
  c.v_dim = r.positive("v_head_dim");
  c.kv_heads = c.heads;
  c.interleaved_rope = r.flag("rope_interleave", true);
  c.mtp_layers = r.count("num_nextn_predict_layers", 0);
}

void read_experts(Reader& r, Config& c, bool v3) {
  auto& m = c.moe;
  m.experts = r.count("n_routed_experts", 0);
  if (m.experts == 0) return;
  m.top_k = r.positive("num_experts_per_tok");
  m.inter = r.positive("moe_intermediate_size");
  m.shared_inter = r.count("n_shared_experts", 0) * m.inter;
  m.first_dense = r.count("first_k_dense_replace", 0);
  m.step = std::max(1, r.count("moe_layer_freq", 1));
  const std::string scoring = r.text("scoring_func", v3 ? "sigmoid" : "softmax");
  const std::string method = r.text("topk_method", v3 ? "noaux_tc" : "greedy");
  if (scoring != "sigmoid" && scoring != "softmax") r.fail("scoring_func: '" + scoring + "' is not supported");
  if (method != "greedy" && method != "group_limited_greedy" && method != "noaux_tc") {
    r.fail("topk_method: '" + method + "' is not supported");
  }
  m.has_bias = method == "noaux_tc";
  m.routing.scoring = scoring == "sigmoid" ? ops::Scoring::kSigmoid : ops::Scoring::kSoftmax;
  m.routing.group_score = v3 ? ops::GroupScore::kSumOfTopTwo : ops::GroupScore::kMax;
  m.routing.groups = method == "greedy" ? 1 : std::max(1, r.count("n_group", 1));
  m.routing.topk_groups = method == "greedy" ? 1 : std::max(1, r.count("topk_group", 1));
  m.routing.normalise = v3 && r.flag("norm_topk_prob", true);
  m.routing.scale = static_cast<float>(r.number("routed_scaling_factor", 1, 0, 1e6));
}

}  // namespace

void read_deepseek_v2(Reader& r, Config& c) {
  read_attention(r, c);
  read_experts(r, c, false);
}

void read_deepseek_v3(Reader& r, Config& c) {
  read_attention(r, c);
  read_experts(r, c, true);
}

std::unique_ptr<Model> build_deepseek(Builder& builder, const Config& config) {
  return std::make_unique<DecoderModel<MlaAttention>>(
      builder, config, Rope(config, builder.options().max_model_len, builder.stream()));
}

}  // namespace braid::model
