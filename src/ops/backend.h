// SPDX-License-Identifier: Apache-2.0
// What a backend offers: its kernel lists and a stream. Adding an operation adds a line here.
#pragma once

#include <span>

#include "ops/attention.h"
#include "ops/choose_tokens.h"
#include "ops/elementwise.h"
#include "ops/exchange.h"
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
  std::span<const Kernel<MlaGather>> mla_gather;
  std::span<const Kernel<GqaPrepare>> gqa_prepare;
  std::span<const Kernel<Route>> route;
  std::span<const Kernel<Arrange>> arrange;
  std::span<const Kernel<Combine>> combine;
  MakeExchange exchange = nullptr;  // none: tokens travel through the host's memory
  std::span<const Kernel<ChooseTokens>> choose_tokens = {};  // none: the host chooses
};

// Calls visit(list) for each list.
template <class Visit>
void for_each_list(const KernelLists& lists, Visit visit) {
  visit(lists.linear);
  visit(lists.grouped_mlp);
  visit(lists.attention_decode);
  visit(lists.attention_prefill);
  visit(lists.embed);
  visit(lists.rms_norm);
  visit(lists.mla_store);
  visit(lists.mla_query);
  visit(lists.mla_gather);
  visit(lists.gqa_prepare);
  visit(lists.route);
  visit(lists.arrange);
  visit(lists.combine);
  visit(lists.choose_tokens);
}

// An error when an entry names a kernel or an operation that the lists lack.
Status check_forced(const KernelLists& lists, const ForcedKernels& forced);

// What a model is built with. The stream and lists outlive the model.
struct Backend {
  const KernelLists* kernels = nullptr;
  Stream* stream = nullptr;
  ForcedKernels forced;
};

}  // namespace braid::ops
