// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/attention/attention.h"

namespace braid::cuda {
namespace {

std::string any_decode(const ops::AttentionDecode::Problem&, const Capabilities&) { return {}; }

std::string any_prefill(const ops::AttentionPrefill::Problem& p, const Capabilities&) {
  return p.shape.v_dim > kMostSimpleV ? "values wider than 512" : "";
}

}  // namespace

std::vector<ops::Kernel<ops::AttentionDecode>> attention_decode_kernels() {
  return {{"mma", 10, decode_mma_support, decode_mma, nullptr}, {"simple", 1, any_decode, decode_simple, nullptr}};
}

std::vector<ops::Kernel<ops::AttentionPrefill>> attention_prefill_kernels() {
  return {{"mma", 10, prefill_mma_support, prefill_mma, nullptr}, {"simple", 1, any_prefill, prefill_simple, nullptr}};
}

}  // namespace braid::cuda
