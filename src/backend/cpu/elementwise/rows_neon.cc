// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/elementwise/rows_body.h"
#include "backend/cpu/simd/neon.h"

namespace braid::cpu {

extern const RowKernels kNeonRows = row_kernels<Neon>();

}  // namespace braid::cpu
