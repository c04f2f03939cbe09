// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <string>

#include "app/commands.h"
#include "app/load.h"
#include "app/parse.h"
#include "app/settings.h"
#include "config/reference.h"
#include "engine/cache_size.h"
#include "model/plan.h"

namespace braid::app {
namespace {

struct InspectSettings {
  ModelSettings model;
  int ranks = 1;
  bool spread = false;
  int redundant = 0;
  int max_model_len = -1;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.group("Model", self.model);
    v.field("data-parallel-size", self.ranks, {.help = "Ranks, as for braid serve", .min = 1, .max = 512});
    v.field("enable-expert-parallel", self.spread, {.help = "The ranks share the experts; otherwise each has all"});
    v.field("num-redundant-experts", self.redundant, {.help = "Further copies of experts, over all ranks", .min = 0, .max = 65536});
    v.field("max-model-len", self.max_model_len, {.help = "Length of the sequence whose cache is counted; auto: the model's limit",
            .unit = "tokens", .min = -1, .human_size = true, .auto_value = -1});
  }
};

std::string amount(double value, const char* unit) {
  const char* const prefixes[] = {"", " k", " M", " G", " T"};
  int thousands = 0;
  for (; value >= 1000 && thousands < 4; ++thousands) value /= 1000;
  char text[64];
  std::snprintf(text, sizeof(text), value < 10 && thousands > 0 ? "%.2f" : "%.0f", value);
  return std::string(text) + (thousands > 0 ? prefixes[thousands] : " ") + unit;
}

void print(const char* what, const std::string& text) { std::printf("%-13s %s\n", what, text.c_str()); }

// `wanted`: what is done to weights that are not quantised.
void print_shape(const model::Config& c, const std::string& wanted) {
  print("family", c.architecture);
  const std::string attention = c.kv_lora > 0 ? "latent attention" : std::to_string(c.kv_heads) + " of keys and values";
  print("layers", std::to_string(c.layers) + " of " + std::to_string(c.hidden) + " columns; " + std::to_string(c.heads) + " heads, " + attention);
  int mixtures = 0;
  for (int layer = 0; layer < c.layers; ++layer) mixtures += c.is_moe(layer);
  const auto& m = c.moe;
  if (mixtures == 0) print("experts", "none");
  else print("experts", std::to_string(m.experts) + " of " + std::to_string(m.inter) + " columns in " + std::to_string(mixtures) + " layers, " + std::to_string(m.top_k) + " a token" +
             (m.shared_inter > 0 ? "; a shared one of " + std::to_string(m.shared_inter) : ""));
  print("context", std::to_string(c.max_positions) + " tokens");
  print("quantisation", c.quantization.empty() ? wanted : c.quantization);
  if (c.mtp_layers > 0) print("drafts", "a module of its own (--speculative-config '{\"method\": \"mtp\"}')");
}

// The kernels of the matrices: what speed depends on.
std::string kernels_of(const model::Model& model) {
  std::string text;
  for (const auto& chosen : model.chosen_kernels()) {
    if (chosen.op != "grouped_mlp" && chosen.op != "attention_decode") continue;
    const std::string one = chosen.op + " by " + chosen.kernel;
    if (text.find(one) == std::string::npos) text += (text.empty() ? "" : ", ") + one;
  }
  return text;
}

void print_memory(const InspectSettings& settings, const model::Model& model, int length) {
  const int sharing = settings.spread ? settings.ranks : 1;
  const auto weights = static_cast<double>(model::bytes_of_rank(model, sharing, settings.redundant));
  const engine::Settings defaults;
  const kv::Layout layout = engine::cache_layout(defaults, model.cache_layout());
  const auto token = static_cast<double>(layout.bytes_per_token());
  const auto blocks = static_cast<double>(engine::paging_of(defaults, layout).most_blocks(length));
  const double sequence = blocks * defaults.cache.block_size * static_cast<double>(layout.bytes_per_slot());
  print("each rank", amount(weights, "B") + " of weights, " + amount(token, "B") + " of cache a token (" + std::string(name_of(layout.dtype)) + "), " + amount(sequence, "B") + " a sequence of " +
        std::to_string(length));
  const double all = settings.ranks * weights;
  if (settings.ranks > 1) print("all ranks", amount(all, "B") + " of weights on " + std::to_string(settings.ranks) + (settings.spread ? ", which share the experts" : ", each with all experts"));
}

Status inspect_model(const InspectSettings& settings) {
  ASSIGN_OR_RETURN(const auto config, model_config(settings.model.model));
  print("model", settings.model.model);
  print_shape(config, settings.model.quantization == "fp8" ? "FP8 in blocks of 128 x 128, when loaded" : "none");
  ASSIGN_OR_RETURN(const int length, model_length(settings.model, settings.max_model_len, config));
  ASSIGN_OR_RETURN(const auto planned, plan_model(settings.model));
  const auto count = planned.model->weight_count();
  print("parameters", amount(static_cast<double>(count.parameters), "") + ", " + amount(static_cast<double>(model::active_parameters(*planned.model)), "") + " of them compute a token");
  if (planned.checkpoint->total_bytes() > 0) print("files", amount(static_cast<double>(planned.checkpoint->total_bytes()), "B"));
  print("runs", "on " + planned.stream->capabilities().device + ": " + kernels_of(*planned.model));
  print_memory(settings, *planned.model, length);
  return {};
}

}  // namespace

int inspect(Words words) {
  InspectSettings settings;
  const auto parsed = config::parse(settings, words, parse_options());
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<InspectSettings>({"braid inspect MODEL [flags]",
        "Says what a model folder holds, what runs it here and what it takes, without reading its weights.", ""}).c_str());
    return 0;
  }
  if (settings.model.model.empty()) return fail(invalid_argument("name a model folder: braid inspect MODEL", "model"));
  const Status done = inspect_model(settings);
  return done.ok() ? 0 : fail(done.error());
}

}  // namespace braid::app
