// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "app/commands.h"
#include "app/load.h"
#include "app/parse.h"
#include "config/reference.h"
#include "engine/cache_size.h"

namespace braid::app {
namespace {

void print_features(const Capabilities& caps) {
  std::printf("device %s, features:", caps.device.c_str());
  for (const auto& feature : caps.features) std::printf(" %s", feature.c_str());
  std::puts("");
}

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

model::Options small_options() {
  model::Options options;
  options.max_model_len = 64;
  options.max_batched_tokens = 16;
  options.max_sequences = 4;
  return options;
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
  const auto loaded = load_model(settings, small_options(), true);
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

int doctor(Words words) {
  ModelSettings settings;
  const auto parsed = config::parse(settings, words, parse_options());
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts("usage: braid doctor [MODEL]\n\nChecks this machine, and that a model folder loads.");
    return 0;
  }
  const auto stream = cpu::make_stream({});
  print_features(stream->capabilities());
  std::printf("workers %d, memory that can be taken %lld MiB\n", stream->workers(),
              static_cast<long long>(engine::available_memory() >> 20));
  if (settings.model.empty()) return 0;
  const auto loaded = load_model(settings, small_options(), true);
  if (!loaded.ok()) return fail(loaded.error());
  std::printf("model %s: loads in %.2f s, %zu MiB of weights\n", settings.model.c_str(), loaded->seconds, loaded->model->weight_bytes() >> 20);
  const auto text = load_text(settings, loaded->model->config());
  if (!text.ok()) return fail(text.error());
  std::printf("tokenizer: %s, chat template: %s, structured output: %s\n", text->tokenizer ? "ok" : "none",
              text->chat_template ? "ok" : "none", text->vocabulary.grammars ? "ok" : "none");
  return 0;
}

}  // namespace braid::app
