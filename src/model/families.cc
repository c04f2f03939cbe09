// SPDX-License-Identifier: Apache-2.0
#include "model/families.h"

namespace braid::model {
namespace {

constexpr Family kFamilies[] = {
    {"DeepseekV2ForCausalLM", build_deepseek},
    {"DeepseekV3ForCausalLM", build_deepseek},
    {"Qwen3ForCausalLM", build_qwen3},
    {"Qwen3MoeForCausalLM", build_qwen3},
};

// Layers of the model's own draft modules: not all of their tensors are read, or none.
bool is_draft_layer(const std::string& tensor, int layers) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (!tensor.starts_with(kPrefix)) return false;
  return std::atoi(tensor.c_str() + kPrefix.size()) >= layers;
}

}  // namespace

std::span<const Family> families() { return kFamilies; }

Result<std::unique_ptr<Model>> build(const weights::Checkpoint& checkpoint, const Options& options,
                                     const ops::Backend& backend, const Progress& progress) {
  const std::string path = checkpoint.path() + "/config.json";
  ASSIGN_OR_RETURN(const Config config, parse_config(checkpoint.config_json(), path));
  std::string known;
  for (const auto& family : families()) {
    known += (known.empty() ? "" : ", ") + std::string(family.architecture);
    if (family.architecture != config.architecture) continue;
    if (options.draft_module && config.mtp_layers == 0) {
      return invalid_argument(path + ": num_nextn_predict_layers is missing or 0: the model has no module to draft with; use ngram",
                              "speculative-config.method");
    }
    Builder builder(checkpoint, config, options, backend, progress);
    auto model = family.build(builder, config);
    if (builder.error()) return *builder.error();
    RETURN_IF_ERROR(checkpoint.check_surplus([&](const std::string& name) {
      return is_draft_layer(name, config.layers) || name.ends_with("rotary_emb.inv_freq") ||
             (config.tied_embeddings && name == "lm_head.weight");
    }));
    return model;
  }
  return invalid_argument(path + ": architecture '" + config.architecture + "' is not supported (supported: " + known + ")", "model");
}

}  // namespace braid::model
