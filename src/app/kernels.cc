// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "app/commands.h"
#include "app/load.h"
#include "app/parse.h"
#include "config/reference.h"

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

void print_all() {
  const auto& lists = cpu::kernels();
  std::puts("kernels and their ranks:");
  print_list(lists.linear);
  print_list(lists.grouped_mlp);
  print_list(lists.attention_decode);
  print_list(lists.attention_prefill);
  print_list(lists.embed);
  print_list(lists.rms_norm);
  print_list(lists.mla_store);
  print_list(lists.mla_query);
  print_list(lists.gqa_prepare);
  print_list(lists.route);
  print_list(lists.combine);
}

}  // namespace

int kernels(Words words) {
  ModelSettings settings;
  const auto parsed = config::parse(settings, words, parse_options());
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<ModelSettings>({"braid kernels [MODEL] [flags]",
        "Says which kernel runs each operation of a model here, and why not the others; without a model, lists all.", ""}).c_str());
    return 0;
  }
  if (settings.model.empty()) {
    print_features(cpu::make_stream({.threads = 1})->capabilities());
    print_all();
    return 0;
  }
  const auto loaded = load_model(settings, {.max_model_len = 64, .max_batched_tokens = 16, .max_sequences = 4}, true);
  if (!loaded.ok()) return fail(loaded.error());
  print_features(loaded->stream->capabilities());
  for (const auto& chosen : loaded->model->chosen_kernels()) {
    std::printf("%s [%s]: %s\n", chosen.op.c_str(), chosen.problem.c_str(), chosen.kernel.c_str());
    for (const auto& candidate : chosen.candidates) {
      if (!candidate.reason.empty()) std::printf("    not %s: %s\n", candidate.kernel.c_str(), candidate.reason.c_str());
    }
  }
  return 0;
}

}  // namespace braid::app
