// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/machine/loops_body.h"
#include "backend/cpu/simd/avx512.h"

namespace braid::cpu {

extern const PeakLoop kAvx512F32Peak = {f32_loop<Avx512>, kF32Operations<Avx512>};
extern const ReadLoop kAvx512Read = read_loop<Avx512>;

}  // namespace braid::cpu
