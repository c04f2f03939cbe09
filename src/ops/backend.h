// SPDX-License-Identifier: Apache-2.0
// What a backend offers: its kernel lists and a stream. Adding an operation adds a line here.
#pragma once

#include <span>

#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/grouped_mlp.h"
#include "ops/kernel.h"
#include "ops/linear.h"
#include "ops/routing.h"

namespace braid::ops {

struct KernelLists {
  std::span<const Kernel<Linear>> linear;
  std::span<const Kernel<GroupedMlp>> grouped_mlp;
  std::span<const Kernel<AttentionDecode>> attention_decode;
  std::span<const Kernel<AttentionPrefill>> attention_prefill;
  std::span<const Kernel<Embed>> embed;
  std::span<const Kernel<RmsNorm>> rms_norm;
  std::span<const Kernel<MlaStore>> mla_store;
  std::span<const Kernel<MlaQuery>> mla_query;
  std::span<const Kernel<GqaPrepare>> gqa_prepare;
  std::span<const Kernel<Route>> route;
  std::span<const Kernel<Combine>> combine;
};

// What a model is built with. The stream and lists outlive the model.
struct Backend {
  const KernelLists* kernels = nullptr;
  Stream* stream = nullptr;
  ForcedKernels forced;
};

}  // namespace braid::ops
