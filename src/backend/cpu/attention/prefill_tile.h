// SPDX-License-Identifier: Apache-2.0
// The pieces of prefill attention, one table per instruction set. Plain pointers only, as in
// elementwise/rows.h.
//
// An operand is float32, or bfloat16 with pairs along the summed dimension side by side. "Units"
// are floats or such pairs. A panel holds 32 columns: [depth in units][32] units.
#pragma once

#include <cstdint>

namespace braid::cpu {

inline constexpr int kBlockKeys = 64;
inline constexpr int kPanel = 32;
inline constexpr int kTileRows = 8;

// c[0, rows)[0, 32) = keep * c + a * panel; keep holds a factor per row, null: c is overwritten.
struct TileProduct {
  const void* a;
  long a_stride;  // units
  int rows;
  int depth;  // units
  const void* panel;
  float* c;
  long c_stride;
  const float* keep;
};

// Rows of scores of one key block become weights; max and sum of each row's softmax move on, and
// keep tells by how much what was summed before shrinks.
struct TileSoftmax {
  float* scores;  // [rows, kBlockKeys]
  int rows;
  const int* first;    // [rows] the keys that a row sees are [first, end), empty where end <= first
  const int* end;
  float scale;
  float* max;
  float* sum;
  float* keep;
  void* weights;  // [rows, kBlockKeys] elements
};

struct PrefillTier {
  int pair;  // elements in a unit; an element has 4 / pair bytes
  // n elements of a row, padded with zeros to `units`.
  void (*pack_row)(const void* x, bool bf16, int n, void* out, int units);
  // Two panels of `units` depth: column = key. Rows from `count` on are zero.
  void (*pack_keys)(const void* const* rows, int count, bool bf16, int dim, int units, void* out);
  // Panels of kBlockKeys / pair depth: column = element of the value.
  void (*pack_values)(const void* const* rows, int count, bool bf16, int dim, void* out);
  void (*multiply)(const TileProduct&);
  void (*softmax)(const TileSoftmax&);
  // out[i] = x[i] / sum.
  void (*finish)(const float* x, float sum, int n, void* out, bool bf16);
  void (*decode_fp8)(const std::uint8_t* codes, float scale, int n, std::uint16_t* out);
};

extern const PrefillTier kScalarPrefill;
#if defined(__x86_64__)
extern const PrefillTier kAvx2Prefill;
extern const PrefillTier kAvx512Prefill;
extern const PrefillTier kAvx512Bf16Prefill;  // bfloat16 queries, cache not float32
#endif

}  // namespace braid::cpu
