// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/elementwise/rows_body.h"
#include "backend/cpu/simd/portable.h"

namespace braid::cpu {

extern const RowKernels kScalarRows = row_kernels<Portable>();

}  // namespace braid::cpu
