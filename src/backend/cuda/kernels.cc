// SPDX-License-Identifier: Apache-2.0
// The CUDA backend's kernels, operation by operation.
#include "backend/cuda/attention/attention.h"
#include "backend/cuda/backend.h"
#include "backend/cuda/exchange/exchange.h"
#include "backend/cuda/matmul/matmul.h"
#include "backend/cuda/moe/moe.h"
#include "backend/cuda/rows/rows.h"

namespace braid::cuda {
namespace {

template <class Op>
std::string always(const typename Op::Problem&, const Capabilities&) {
  return {};
}

std::string route_limits(const ops::Route::Problem& p, const Capabilities&) {
  return p.experts > kMostExperts || p.top_k > kMostTopK ? "more than 1024 experts, or 32 a token" : "";
}

// The one kernel of a row-wise operation.
template <class Op>
std::vector<ops::Kernel<Op>> one(void (*run)(const typename Op::Args&, braid::Stream&),
                                 std::string (*supports)(const typename Op::Problem&, const Capabilities&) = always<Op>) {
  return {{"simple", 1, supports, run, nullptr}};
}

struct Lists {
  std::vector<ops::Kernel<ops::Linear>> linear = linear_kernels();
  std::vector<ops::Kernel<ops::GroupedMlp>> grouped_mlp = grouped_mlp_kernels();
  std::vector<ops::Kernel<ops::AttentionDecode>> attention_decode = attention_decode_kernels();
  std::vector<ops::Kernel<ops::AttentionPrefill>> attention_prefill = attention_prefill_kernels();
  std::vector<ops::Kernel<ops::Embed>> embed = one<ops::Embed>(cuda::embed);
  std::vector<ops::Kernel<ops::RmsNorm>> rms_norm = one<ops::RmsNorm>(cuda::rms_norm);
  std::vector<ops::Kernel<ops::MlaStore>> mla_store = one<ops::MlaStore>(cuda::mla_store);
  std::vector<ops::Kernel<ops::MlaQuery>> mla_query = one<ops::MlaQuery>(cuda::mla_query);
  std::vector<ops::Kernel<ops::MlaGather>> mla_gather = one<ops::MlaGather>(cuda::mla_gather);
  std::vector<ops::Kernel<ops::GqaPrepare>> gqa_prepare = one<ops::GqaPrepare>(cuda::gqa_prepare);
  std::vector<ops::Kernel<ops::Route>> route = one<ops::Route>(cuda::route, route_limits);
  std::vector<ops::Kernel<ops::Arrange>> arrange = one<ops::Arrange>(cuda::arrange);
  std::vector<ops::Kernel<ops::Combine>> combine = one<ops::Combine>(cuda::combine);
  std::vector<ops::Kernel<ops::ChooseTokens>> choose_tokens = one<ops::ChooseTokens>(cuda::choose_tokens);
};

}  // namespace

const ops::KernelLists& kernels() {
  static const Lists all;
  static const ops::KernelLists lists{all.linear,    all.grouped_mlp, all.attention_decode, all.attention_prefill, all.embed,
                                      all.rms_norm,  all.mla_store,   all.mla_query,        all.mla_gather,        all.gqa_prepare,
                                      all.route,     all.arrange,     all.combine,      make_exchange,          all.choose_tokens};
  return lists;
}

}  // namespace braid::cuda
