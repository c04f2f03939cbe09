// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <map>

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
  return 0;
}

}  // namespace braid::app
