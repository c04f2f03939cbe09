// SPDX-License-Identifier: Apache-2.0
// Launchers of the kernels around experts; contracts are those of ops/routing.h.
#pragma once

#include "ops/routing.h"

namespace braid::cuda {

inline constexpr int kMostExperts = 1024;
inline constexpr int kMostTopK = 32;

void route(const ops::Route::Args& args, braid::Stream& stream);
void arrange(const ops::Arrange::Args& args, braid::Stream& stream);
void combine(const ops::Combine::Args& args, braid::Stream& stream);

}  // namespace braid::cuda
