// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/attention/decode_body.h"
#include "backend/cpu/attention/prefill_body.h"
#include "backend/cpu/simd/neon.h"

namespace braid::cpu {

extern const DecodeTier kNeonDecode{decode_part<Neon>, merge_parts<Neon>};
extern const PrefillTier kNeonPrefill = prefill_tier<Neon, 2>();

}  // namespace braid::cpu
