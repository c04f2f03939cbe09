// SPDX-License-Identifier: Apache-2.0
// What a token leaves in one layer of a cache kept as FP8, on every backend and on the way between engines:
//   [an e4m3 code for each element | a float32 scale for each group | plain bfloat16 elements],
// each part at a multiple of 4 bytes, the row at multiples of 16. With DeepSeek's latents: 512 + 16 + 128 bytes.
//
// A scale is the smallest power of two, from 2^-100 to 2^100, under which the group's largest element is
// within 448. So code times scale is a bfloat16 number exactly, and kernels for bfloat16 rows serve
// decoded ones. What is not finite is stored as the largest number.
#pragma once

#include <cstdint>

namespace braid::ops {

struct Fp8Row {
  int elements = 0;  // codes
  int group = 1;     // elements that share a scale; the last group may be shorter
  int plain = 0;     // elements behind them, as bfloat16

  // Of grouped-query attention: a scale for each head of keys, then of values.
  static constexpr Fp8Row keys_and_values(int kv_heads, int dim) { return {2 * kv_heads * dim, dim, 0}; }
  // Of latent attention: what RoPE has turned stays bfloat16.
  static constexpr Fp8Row latent(int lora, int rope) { return {lora, 128, rope}; }

  constexpr int groups() const { return (elements + group - 1) / group; }
  constexpr std::int64_t scales_at() const { return (elements + 3) / 4 * 4; }
  constexpr std::int64_t plain_at() const { return scales_at() + 4 * groups(); }
  constexpr std::int64_t bytes() const { return (plain_at() + 2 * plain + 15) / 16 * 16; }

  // Slow, for references and tests: element i, plain ones after the codes; and a whole row.
  float at(const void* row, std::int64_t i) const;
  void put(void* row, const float* x) const;
};

}  // namespace braid::ops
