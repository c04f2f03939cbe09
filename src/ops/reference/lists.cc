// SPDX-License-Identifier: Apache-2.0
#include "ops/reference.h"

namespace braid::ops::reference {
namespace {

template <class Op>
std::span<const Kernel<Op>> only(const Kernel<Op>& kernel) {
  return {&kernel, 1};
}

}  // namespace

const KernelLists& lists() {
  static const KernelLists lists{
      .linear = only(kLinear),
      .grouped_mlp = only(kGroupedMlp),
      .attention_decode = only(kAttentionDecode),
      .attention_prefill = only(kAttentionPrefill),
      .embed = only(kEmbed),
      .rms_norm = only(kRmsNorm),
      .mla_store = only(kMlaStore),
      .mla_query = only(kMlaQuery),
      .mla_gather = only(kMlaGather),
      .gqa_prepare = only(kGqaPrepare),
      .route = only(kRoute),
      .arrange = only(kArrange),
      .combine = only(kCombine),
  };
  return lists;
}

}  // namespace braid::ops::reference
