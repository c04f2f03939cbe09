// SPDX-License-Identifier: Apache-2.0
// Decode attention of one query row over at most kPartKeys of its keys; one table per instruction
// set. Plain pointers only, as in elementwise/rows.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace braid::cpu {

inline constexpr int kPartKeys = 256;
inline constexpr int kPartHeads = 4;  // heads that share a pass over the keys

// Heads of one kv head. A partial result of a head is [v_dim] unnormalised, then max and sum of
// its softmax; a final one is divided by the sum and has the query's type.
struct DecodePart {
  const void* const* k;  // [keys] rows of this kv head, type as cache_bf16 says
  const void* const* v;
  int keys;  // 1..kPartKeys
  bool cache_bf16;
  const void* q;  // [heads, qk_dim]
  bool q_bf16;
  int heads;
  int qk_dim;
  int v_dim;
  float scale;
  const float* sinks;  // [heads] logits that join the softmax of this part, or null
  float* partial;  // [heads, partial_stride], or null when final
  long partial_stride;
  void* final;     // [heads, v_dim]
  float* scratch;  // part_scratch(qk_dim) floats
};

inline std::size_t part_scratch(int qk_dim) {
  return static_cast<std::size_t>(kPartHeads) *
         (2 * kPartKeys + static_cast<std::size_t>(qk_dim) + 16);
}

struct DecodeTier {
  void (*part)(const DecodePart&);
  // Merges the partial results of one head, `stride` floats apart, in order.
  void (*merge)(const float* partials, long stride, int count, int v_dim, void* out, bool bf16);
  void (*decode_fp8)(const std::uint8_t* codes, float scale, int n, std::uint16_t* out);
};

extern const DecodeTier kScalarDecode;
#if defined(__x86_64__)
extern const DecodeTier kAvx2Decode;
extern const DecodeTier kAvx512Decode;
extern const DecodeTier kAvx512Bf16Decode;  // bfloat16 queries, cache not float32
#endif

}  // namespace braid::cpu
