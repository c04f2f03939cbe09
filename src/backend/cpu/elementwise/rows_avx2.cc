// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/elementwise/rows_body.h"
#include "backend/cpu/simd/avx2.h"

namespace braid::cpu {

extern const RowKernels kAvx2Rows = row_kernels<Avx2>();

}  // namespace braid::cpu
