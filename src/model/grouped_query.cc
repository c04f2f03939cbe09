// SPDX-License-Identifier: Apache-2.0
#include "model/attention_gqa.h"
#include "model/decoder_model.h"
#include "model/families.h"

namespace braid::model {

std::unique_ptr<Model> build_grouped_query(Builder& builder, const Config& config) {
  return std::make_unique<DecoderModel<GqaAttention>>(
      builder, config, Rope(config, builder.options().max_model_len, builder.stream()));
}

}  // namespace braid::model
