// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/machine/loops_body.h"
#include "backend/cpu/simd/portable.h"

namespace braid::cpu {

extern const PeakLoop kScalarF32Peak = {f32_loop<Portable>, kF32Operations<Portable>};
extern const ReadLoop kScalarRead = read_loop<Portable>;

}  // namespace braid::cpu
