// SPDX-License-Identifier: Apache-2.0
// Launchers of the row-wise kernels, one file each; contracts are those of ops/elementwise.h.
#pragma once

#include "ops/elementwise.h"

namespace braid::cuda {

void embed(const ops::Embed::Args& args, braid::Stream& stream);

}  // namespace braid::cuda
