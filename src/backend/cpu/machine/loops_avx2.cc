// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/machine/loops_body.h"
#include "backend/cpu/simd/avx2.h"

namespace braid::cpu {

extern const PeakLoop kAvx2F32Peak = {f32_loop<Avx2>, kF32Operations<Avx2>};
extern const ReadLoop kAvx2Read = read_loop<Avx2>;

}  // namespace braid::cpu
