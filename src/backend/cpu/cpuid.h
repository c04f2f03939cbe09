// SPDX-License-Identifier: Apache-2.0
// What this processor and this operating system can run, asked from both directly.
#pragma once

#include "tensor/device.h"

namespace braid::cpu {

// Features that the processor has, the operating system saves on a context switch and (AMX) the
// kernel has granted to this process; asking is what requests AMX. Names as in tensor/device.h.
Capabilities detect();

// `caps` without the features above a tier: "scalar", "avx2", "avx512", "avx512bf16", "amx" (or
// "neon"). An unknown tier, or an empty one, changes nothing.
Capabilities limit(const Capabilities& caps, std::string_view tier);

}  // namespace braid::cpu
