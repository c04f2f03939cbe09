// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/elementwise/rows_body.h"
#include "backend/cpu/simd/avx512.h"

namespace braid::cpu {

extern const RowKernels kAvx512Rows = row_kernels<Avx512>();

}  // namespace braid::cpu
