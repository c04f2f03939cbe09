// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/attention/decode_body.h"
#include "backend/cpu/attention/prefill_body.h"
#include "backend/cpu/simd/avx512.h"

namespace braid::cpu {

extern const DecodeTier kAvx512Decode{decode_part<Avx512>, merge_parts<Avx512>, decode_fp8};
extern const PrefillTier kAvx512Prefill = prefill_tier<Avx512, 8>();

}  // namespace braid::cpu
