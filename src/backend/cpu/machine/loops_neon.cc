// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/machine/loops_body.h"
#include "backend/cpu/simd/neon.h"

namespace braid::cpu {

extern const PeakLoop kNeonF32Peak = {f32_loop<Neon>, kF32Operations<Neon>};
extern const ReadLoop kNeonRead = read_loop<Neon>;

}  // namespace braid::cpu
