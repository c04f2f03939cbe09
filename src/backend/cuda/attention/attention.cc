// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/attention/attention.h"

namespace braid::cuda {
namespace {

std::string any_decode(const ops::AttentionDecode::Problem&, const Capabilities&) { return {}; }

std::string any_prefill(const ops::AttentionPrefill::Problem& p, const Capabilities&) {
  return p.shape.v_dim > kMostSimpleV ? "values wider than 512" : "";
}

}  // namespace

std::string prefill_hopper_support(const ops::AttentionPrefill::Problem& p, const Capabilities& caps) {
  if (!caps.has("sm_90a")) return "needs compute capability 9.0";
  const std::string reason = prefill_mma_support(p, caps);
  if (!reason.empty()) return reason;
  return p.shape.qk_dim > 192 || p.shape.v_dim > 128 ? "keys wider than 192 or values wider than 128" : "";
}

std::string decode_hopper_support(const ops::AttentionDecode::Problem& p, const Capabilities& caps) {
  if (!caps.has("sm_90a")) return "needs compute capability 9.0";
  if (p.q != DType::kBF16 || p.cache == DType::kF32) return "multiplies bfloat16";
  if (!p.shape.sees_all() || p.shape.sinks) return "sees all keys and no sinks";
  const bool latent = p.shape.kv_heads == 1 && p.shape.qk_dim == 576 && p.shape.v_dim == 512;
  return latent ? "" : "needs latent attention with rows of 512 + 64 elements";
}

std::vector<ops::Kernel<ops::AttentionDecode>> attention_decode_kernels() {
  return {{"hopper", 20, decode_hopper_support, decode_hopper, nullptr},
          {"gqa", 15, decode_gqa_support, decode_gqa, nullptr},
          {"mma", 10, decode_mma_support, decode_mma, nullptr},
          {"simple", 1, any_decode, decode_simple, nullptr}};
}

std::vector<ops::Kernel<ops::AttentionPrefill>> attention_prefill_kernels() {
  return {{"hopper", 20, prefill_hopper_support, prefill_hopper, nullptr},
          {"mma", 10, prefill_mma_support, prefill_mma, nullptr},
          {"simple", 1, any_prefill, prefill_simple, nullptr}};
}

}  // namespace braid::cuda
