// SPDX-License-Identifier: Apache-2.0
// Qwen3 and Qwen3-MoE (2505.09388): grouped-query attention with normalised queries and keys, then a
// dense MLP or routed experts.
#include "model/attention_gqa.h"
#include "model/decoder_model.h"
#include "model/families.h"

namespace braid::model {

std::unique_ptr<Model> build_qwen3(Builder& builder, const Config& config) {
  return std::make_unique<DecoderModel<GqaAttention>>(
      builder, config, Rope(config, config.head_dim, false, builder.options().max_model_len, builder.stream()));
}

}  // namespace braid::model
