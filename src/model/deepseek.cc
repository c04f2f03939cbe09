// SPDX-License-Identifier: Apache-2.0
// DeepSeek-V2 (2405.04434), DeepSeek-V3/R1 (2412.19437) and Kimi K2: latent attention, then a dense
// MLP in the first layers and routed plus shared experts in the others.
#include "model/attention_mla.h"
#include "model/decoder_model.h"
#include "model/families.h"

namespace braid::model {

std::unique_ptr<Model> build_deepseek(Builder& builder, const Config& config) {
  return std::make_unique<DecoderModel<MlaAttention>>(
      builder, config, Rope(config, config.rope_dim, true, builder.options().max_model_len, builder.stream()));
}

}  // namespace braid::model
