// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/simd/fixture.h"

namespace braid::cpu {

const Tier* const kEmulated = nullptr;

}  // namespace braid::cpu
