// SPDX-License-Identifier: Apache-2.0
// The matrix kernels: `hopper` on Hopper's GEMM (gemm/gemm.h), `mma` on BF16 tensor cores of any supported
// GPU (matmul/tile.cuh), and `simple` with float32 arithmetic for the shapes and formats that those
// don't take.
#pragma once

#include <vector>

#include "ops/grouped_mlp.h"
#include "ops/linear.h"

namespace braid::cuda {

std::vector<ops::Kernel<ops::Linear>> linear_kernels();
std::vector<ops::Kernel<ops::GroupedMlp>> grouped_mlp_kernels();

// y += or = x * w^T, by one of them, without the bias.
void linear_hopper(const ops::Linear::Args& args, braid::Stream& stream);
void linear_mma(const ops::Linear::Args& args, braid::Stream& stream);
void linear_simple(const ops::Linear::Args& args, braid::Stream& stream);
void grouped_mlp_hopper(const ops::GroupedMlp::Args& args, braid::Stream& stream);
void grouped_mlp_mma(const ops::GroupedMlp::Args& args, braid::Stream& stream);
void grouped_mlp_simple(const ops::GroupedMlp::Args& args, braid::Stream& stream);

// y += bias.
void add_bias(const ops::Linear::Args& args, braid::Stream& stream);
// Adds the biases of down, where groups have any.
void add_group_bias(const ops::GroupedMlp::Args& args, braid::Stream& stream);

// Weights for `hopper`.
ops::PackedWeight pack_linear_hopper(std::span<const ops::Weight> parts, const ops::Linear::Problem& problem, braid::Stream& stream);
ops::PackedMlp pack_mlp_hopper(const ops::Weight& gate, const ops::Weight& up, const ops::Weight& down,
                               const ops::GroupedMlp::Problem& problem, braid::Stream& stream);

// Most groups of one call.
inline constexpr int kMaxGroups = 512;

}  // namespace braid::cuda
