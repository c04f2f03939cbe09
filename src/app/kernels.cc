// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <map>

#include "app/commands.h"
#include "app/load.h"
#include "app/parse.h"
#include "app/settings.h"
#include "config/reference.h"
#include "moe/expert_parallel.h"

namespace braid::app {

void print_features(const Capabilities& caps) {
  std::printf("device %s, features:", caps.device.c_str());
  for (const auto& feature : caps.features) std::printf(" %s", feature.c_str());
  std::puts("");
}

namespace {

template <class Op>
void print_list(std::span<const ops::Kernel<Op>> list) {
  std::printf("%-18s", Op::kName);
  for (const auto& kernel : list) std::printf(" %s(%d)", kernel.name, kernel.rank);
  std::puts("");
}

void print_all(const ops::KernelLists& lists) {
  std::puts("kernels and their ranks:");
  ops::for_each_list(lists, [](auto list) { print_list(list); });
}

// One line a reason: what was passed over because of it.
void print(const model::Model::ChosenKernel& chosen) {
  std::printf("%s [%s]: %s\n", chosen.op.c_str(), chosen.problem.c_str(), chosen.kernel.c_str());
  std::map<std::string, std::string> passed_over;
  for (const auto& [kernel, reason] : chosen.candidates) {
    std::string& names = passed_over[reason];
    names += (names.empty() ? "" : ", ") + kernel;
  }
  for (const auto& [reason, names] : passed_over) {
    if (!reason.empty()) std::printf("    not %s: %s\n", names.c_str(), reason.c_str());
  }
}

struct KernelsSettings {
  ModelSettings model;
  int ranks = 1;
  std::string backend = "auto";
  int buffer_tokens = ParallelSettings{}.moe_buffer_tokens;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.group("Model", self.model);
    v.field("data-parallel-size", self.ranks, {.help = "Ranks that the experts are spread over", .min = 1, .max = 512});
    v.field("all2all-backend", self.backend, {.help = "How tokens travel to their experts, as for braid serve"});
    v.field("moe-buffer-tokens", self.buffer_tokens, {.help = "As for braid serve", .unit = "tokens", .min = 1, .max = 1000000});
  }
};

// Which halves a MoE layer is made of with so many ranks, and why not of the others.
Status print_pairs(const KernelsSettings& settings, const model::Config& config, DType x) {
  if (config.moe.experts == 0) return {};
  ASSIGN_OR_RETURN(const moe::All2All backend, moe::parse_all2all(settings.backend));
  const moe::LayerShape shape{config.moe.experts, config.moe.top_k, config.moe.shared_inter > 0, config.hidden, settings.buffer_tokens, x};
  ASSIGN_OR_RETURN(const auto choice, moe::choose_backend(backend, moe::messages_of(shape, settings.ranks, true, settings.buffer_tokens)));
  std::string taken, others;
  for (const auto& [prepare, experts, reason] : choice.pairs) {
    const std::string pair = std::string(prepare) + " with " + std::string(experts) + " experts";
    if (reason.empty()) taken = pair + " (" + choice.why + ")";
    else others += "    not " + pair + ": " + reason + "\n";
  }
  std::printf("moe [ranks %d]: %s\n%s", settings.ranks, taken.c_str(), others.c_str());
  return {};
}

}  // namespace

int kernels(Words words) {
  KernelsSettings all;
  const ModelSettings& settings = all.model;
  const auto parsed = config::parse(all, words, parse_options());
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<KernelsSettings>({"braid kernels [MODEL] [flags]",
        "Says which kernel runs each operation of a model here, and why not the others; without a model, lists all.", ""}).c_str());
    return 0;
  }
  if (settings.model.empty()) {
    const auto device = open_device(settings);
    if (!device.ok()) return fail(device.error());
    print_features(device->stream->capabilities());
    print_all(*device->kernels);
    return 0;
  }
  const auto loaded = load_model(settings, {.max_model_len = 64, .max_batched_tokens = 16, .max_sequences = 4}, true);
  if (!loaded.ok()) return fail(loaded.error());
  print_features(loaded->stream->capabilities());
  for (const auto& chosen : loaded->model->chosen_kernels()) print(chosen);
  const DType x = settings.dtype == "float32" ? DType::kF32 : DType::kBF16;
  const Status pairs = print_pairs(all, loaded->model->config(), x);
  return pairs.ok() ? 0 : fail(pairs.error());
}

}  // namespace braid::app
