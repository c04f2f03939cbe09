// SPDX-License-Identifier: Apache-2.0
// gpt-oss (2508.10925): grouped-query attention with sinks, every other layer over a window, and
// experts, MXFP4 or plain, whose gates are limited. Linear layers, the router and experts have biases.
#include "model/families.h"

namespace braid::model {
namespace {

constexpr int kMxfp4Block = 32;

void read_experts(Reader& r, Config& c) {
  auto& m = c.moe;
  m.experts = r.positive("num_local_experts");
  m.top_k = r.positive("num_experts_per_tok");
  m.inter = c.inter;
  m.routing.normalise = true;  // a softmax over the chosen is one over all, normalised
  m.router_bias = true;
  m.glu = {1.702f, static_cast<float>(r.number("swiglu_limit", 7, 1e-6, 1e30)), 1};
  c.names.router = "router";
  const nlohmann::json method = r.json().value("/quantization_config/quant_method"_json_pointer, nlohmann::json());
  if (method.is_null()) {
    c.names.experts = ExpertTensors::kAlternatingColumns;
    return;
  }
  c.names.experts = ExpertTensors::kAlternatingRows;
  if (method != "mxfp4") r.fail("quantization_config.quant_method: gpt-oss has mxfp4 or plain experts, found " + method.dump());
  for (const int size : {c.hidden, c.inter}) {
    if (size % kMxfp4Block != 0) r.fail("hidden_size and intermediate_size must be multiples of 32, found " + std::to_string(size));
  }
}

}  // namespace

void read_gpt_oss(Reader& r, Config& c) {
  read_heads(r, c);
  c.qkv_bias = c.o_bias = r.flag("attention_bias", true);
  c.sinks = true;
  if (c.spans.empty()) {
    c.sliding_window = r.positive("sliding_window");
    for (int layer = 0; layer < c.layers; ++layer) c.spans.push_back(layer % 2 == 0 ? LayerSpan::kWindow : LayerSpan::kFull);
  }
  read_experts(r, c);
}

}  // namespace braid::model
