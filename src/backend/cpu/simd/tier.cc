// SPDX-License-Identifier: Apache-2.0
#include "backend/cpu/simd/tier.h"

namespace braid::cpu {

extern const Tier kScalar{"scalar", 10, {}};
extern const Tier kAvx2{"avx2", 20, {"avx2", "fma"}};
extern const Tier kAvx512{"avx512", 30, {"avx512f", "avx512bw", "avx512vl", "avx512dq"}};
extern const Tier kAvx512Bf16{
    "avx512bf16", 40, {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512bf16"}};
extern const Tier kAvx512Vbmi{"avx512bf16",
                              40,
                              {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512bf16",
                               "avx512vbmi", "avx512vnni"}};
extern const Tier kAmx{"amx",
                       50,
                       {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512bf16", "avx512vbmi",
                        "avx512vnni", "amx-tile", "amx-bf16", "amx-int8"}};

std::string missing(const Capabilities& caps, const Tier& tier) {
  for (const char* const* feature = tier.features; *feature; ++feature) {
    if (!caps.has(*feature)) return std::string("lacks ") + *feature;
  }
  return {};
}

}  // namespace braid::cpu
