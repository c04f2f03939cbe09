// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/attention/decode_body.h"
#include "backend/cpu/attention/prefill_body.h"
#include "backend/cpu/simd/avx2.h"

namespace braid::cpu {

extern const DecodeTier kAvx2Decode{decode_part<Avx2>, merge_parts<Avx2>, decode_fp8};
extern const PrefillTier kAvx2Prefill = prefill_tier<Avx2, 3>();

}  // namespace braid::cpu
