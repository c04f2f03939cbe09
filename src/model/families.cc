// SPDX-License-Identifier: Apache-2.0
#include "model/families.h"

namespace braid::model {
namespace {

constexpr Family kFamilies[] = {
    {"DeepseekV2ForCausalLM", read_deepseek_v2, build_deepseek},
    {"DeepseekV3ForCausalLM", read_deepseek_v3, build_deepseek},
    {"Glm4MoeForCausalLM", read_glm4_moe, build_grouped_query},
    {"GptOssForCausalLM", read_gpt_oss, build_grouped_query},
    {"Llama4ForConditionalGeneration", read_llama4, build_grouped_query},
    {"LlamaForCausalLM", read_llama, build_grouped_query},
    {"MixtralForCausalLM", read_mixtral, build_grouped_query},
    {"Qwen2MoeForCausalLM", read_qwen2_moe, build_grouped_query},
    {"Qwen3ForCausalLM", read_qwen3, build_grouped_query},
    {"Qwen3MoeForCausalLM", read_qwen3_moe, build_grouped_query},
};

// Layers of the model's own draft modules: not all of their tensors are read, or none.
bool is_draft_layer(const std::string& tensor, const Config& config) {
  const std::string prefix = config.names.root + "model.layers.";
  if (!tensor.starts_with(prefix)) return false;
  return std::atoi(tensor.c_str() + prefix.size()) >= config.layers;
}

// Of inputs or of cache rows, which are not rounded.
bool is_activation_scale(const std::string& tensor) {
  return tensor.ends_with(".input_scale") || tensor.ends_with(".k_scale") || tensor.ends_with(".v_scale");
}

}  // namespace

std::span<const Family> families() { return kFamilies; }

Result<const Family*> find_family(std::string_view architecture, const std::string& path) {
  std::string known;
  for (const auto& family : kFamilies) {
    if (family.architecture == architecture) return &family;
    known += (known.empty() ? "" : ", ") + std::string(family.architecture);
  }
  return invalid_argument(path + ": architecture '" + std::string(architecture) + "' is not supported (supported: " + known + ")", "model");
}

Result<std::unique_ptr<Model>> build(const weights::Checkpoint& checkpoint, const Options& options,
                                     const ops::Backend& backend, const Progress& progress) {
  const std::string path = checkpoint.path() + "/config.json";
  ASSIGN_OR_RETURN(const Config config, parse_config(checkpoint.config_json(), path));
  ASSIGN_OR_RETURN(const Family* family, find_family(config.architecture, path));
  if (options.draft_module && config.mtp_layers == 0) {
    return invalid_argument(path + ": num_nextn_predict_layers is missing or 0: the model has no module to draft with; use ngram",
                            "speculative-config.method");
  }
  Builder builder(checkpoint, config, options, backend, progress);
  auto model = family->build(builder, config);
  if (builder.error()) return *builder.error();
  RETURN_IF_ERROR(checkpoint.check_surplus([&](const std::string& name) {
    return !name.starts_with(config.names.root) || is_draft_layer(name, config) || is_activation_scale(name) || name.ends_with("rotary_emb.inv_freq") ||
           (config.tied_embeddings && name == config.names.root + "lm_head.weight");
  }));
  return model;
}

}  // namespace braid::model
