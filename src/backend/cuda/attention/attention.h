// SPDX-License-Identifier: Apache-2.0
// Launchers of the attention kernels; contracts are those of ops/attention.h.
#pragma once

#include <string>
#include <vector>

#include "ops/attention.h"

namespace braid::cuda {

std::vector<ops::Kernel<ops::AttentionDecode>> attention_decode_kernels();
std::vector<ops::Kernel<ops::AttentionPrefill>> attention_prefill_kernels();

// On tensor cores; what they take.
std::string decode_mma_support(const ops::AttentionDecode::Problem& problem, const Capabilities& caps);
std::string prefill_mma_support(const ops::AttentionPrefill::Problem& problem, const Capabilities& caps);
std::string decode_hopper_support(const ops::AttentionDecode::Problem& problem, const Capabilities& caps);
std::string decode_gqa_support(const ops::AttentionDecode::Problem& problem, const Capabilities& caps);
void decode_gqa(const ops::AttentionDecode::Args& args, braid::Stream& stream);
void decode_hopper(const ops::AttentionDecode::Args& args, braid::Stream& stream);
void decode_mma(const ops::AttentionDecode::Args& args, braid::Stream& stream);
std::string prefill_hopper_support(const ops::AttentionPrefill::Problem& problem, const Capabilities& caps);
void prefill_hopper(const ops::AttentionPrefill::Args& args, braid::Stream& stream);
void prefill_mma(const ops::AttentionPrefill::Args& args, braid::Stream& stream);

// In float32 arithmetic, for any heads.
inline constexpr int kMostSimpleV = 512;  // elements of a value that prefill_simple takes
void decode_simple(const ops::AttentionDecode::Args& args, braid::Stream& stream);
void prefill_simple(const ops::AttentionPrefill::Args& args, braid::Stream& stream);

}  // namespace braid::cuda
