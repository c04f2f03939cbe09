// SPDX-License-Identifier: Apache-2.0
// The CUDA backend as the layers above see it: the stream of one GPU and the kernel lists. Builds
// without it have the same two functions, which say so. The driver is opened when a stream is made,
// so a program with this backend starts on machines without one.
#pragma once

#include <memory>

#include "base/result.h"
#include "ops/backend.h"

namespace braid::cuda {

// The stream of GPU `device`. The error is one line: what is wrong (no backend in this build, no
// driver or an old one, no GPU, one that is too old, busy or full) and what to do.
Result<std::unique_ptr<braid::Stream>> make_stream(int device = 0);

// Every kernel of this backend; which of them can run is their supports()' business.
const ops::KernelLists& kernels();

}  // namespace braid::cuda
