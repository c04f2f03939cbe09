// SPDX-License-Identifier: Apache-2.0
// The matrix kernels that run on every supported GPU: `mma` on BF16 tensor cores (matmul/tile.cuh),
// and `simple` with float32 arithmetic for the shapes and formats that it doesn't take.
#pragma once

#include <vector>

#include "ops/grouped_mlp.h"
#include "ops/linear.h"

namespace braid::cuda {

std::vector<ops::Kernel<ops::Linear>> linear_kernels();
std::vector<ops::Kernel<ops::GroupedMlp>> grouped_mlp_kernels();

// y += or = x * w^T, by one of the two.
void linear_mma(const ops::Linear::Args& args, braid::Stream& stream);
void linear_simple(const ops::Linear::Args& args, braid::Stream& stream);
void grouped_mlp_mma(const ops::GroupedMlp::Args& args, braid::Stream& stream);
void grouped_mlp_simple(const ops::GroupedMlp::Args& args, braid::Stream& stream);

// Most groups of one call.
inline constexpr int kMaxGroups = 512;

}  // namespace braid::cuda
