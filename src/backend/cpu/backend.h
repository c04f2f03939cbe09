// SPDX-License-Identifier: Apache-2.0
// The CPU backend as the layers above see it: a stream and the kernel lists.
#pragma once

#include <memory>

#include "backend/cpu/stream.h"
#include "ops/backend.h"

namespace braid::cpu {

std::unique_ptr<Stream> make_stream(const StreamOptions& options = {});

// Every kernel of this backend; which of them can run is their supports()' business.
const ops::KernelLists& kernels();

}  // namespace braid::cpu
