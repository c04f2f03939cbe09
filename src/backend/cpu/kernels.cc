// SPDX-License-Identifier: Apache-2.0
// The CPU backend's kernels, operation by operation.
#include <vector>

#include "backend/cpu/attention/attention.h"
#include "backend/cpu/backend.h"
#include "backend/cpu/elementwise/elementwise.h"
#include "backend/cpu/gemm/gemm.h"

namespace braid::cpu {
namespace {

struct Lists {
  std::vector<ops::Kernel<ops::Linear>> linear = linear_kernels();
  std::vector<ops::Kernel<ops::GroupedMlp>> grouped_mlp = grouped_mlp_kernels();
  std::vector<ops::Kernel<ops::AttentionDecode>> attention_decode = attention_decode_kernels();
  std::vector<ops::Kernel<ops::AttentionPrefill>> attention_prefill = attention_prefill_kernels();
  ElementwiseKernels rows = elementwise_kernels();
  ops::KernelLists lists;
};

Lists make_lists() {
  Lists all;
  all.lists.linear = all.linear;
  all.lists.grouped_mlp = all.grouped_mlp;
  all.lists.attention_decode = all.attention_decode;
  all.lists.attention_prefill = all.attention_prefill;
  all.lists.embed = all.rows.embed;
  all.lists.rms_norm = all.rows.rms_norm;
  all.lists.mla_store = all.rows.mla_store;
  all.lists.mla_query = all.rows.mla_query;
  all.lists.mla_gather = all.rows.mla_gather;
  all.lists.gqa_prepare = all.rows.gqa_prepare;
  all.lists.route = all.rows.route;
  all.lists.arrange = all.rows.arrange;
  all.lists.combine = all.rows.combine;
  return all;
}

}  // namespace

const ops::KernelLists& kernels() {
  static const Lists all = make_lists();
  return all.lists;
}

std::unique_ptr<Stream> make_stream(const StreamOptions& options) {
  return std::make_unique<Stream>(options);
}

}  // namespace braid::cpu
