// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/attention/decode_body.h"
#include "backend/cpu/attention/prefill_body.h"
#include "backend/cpu/simd/portable.h"

namespace braid::cpu {

extern const DecodeTier kScalarDecode{decode_part<Portable>, merge_parts<Portable>, decode_fp8};
extern const PrefillTier kScalarPrefill = prefill_tier<Portable, 1>();

}  // namespace braid::cpu
