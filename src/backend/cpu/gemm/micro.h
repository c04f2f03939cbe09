// SPDX-License-Identifier: Apache-2.0
// What a matrix micro-kernel is given. Included by files compiled for one instruction set: plain
// data only, no inline function.
//
// Weights lie in panels of 32 outputs, zero-padded at the edge. Within a panel, by layout:
//   kRows   [k][32]         float32, bfloat16 or e4m3 codes
//   kPairs  [k/2][32][2]    bfloat16; an odd k is padded with a zero
//           e4m3: 64 bytes for two inputs, ordered so that byte unpacking restores [32][2]:
//           output o, input i at 16 (o % 16 / 4) + 8 (o / 16) + 2 (o % 4) + i. A code's bits are its sign, the
//           exponent's lowest, the fraction and the rest of the exponent, which is 0 for 2^-7; its value is
//           taken 256 times. Codes 0 to 3, smaller than that, have the odd fractions of exponent 0. Bit g of a
//           panel's `irregular` words: among the 64 codes of pair g is one of those or one of no number.
// e2m1 codes lie two to a byte: in kRows [k][16], output o in byte o % 16, the first sixteen in the low
// halves; in kPairs [k/4][64], a byte's place as for e4m3 and the first two of the inputs in the low halves.
//   kQuads  [k/4][32][4]    int8 weights plus 128, unsigned
// A gate_up panel holds 16 gate and the 16 matching up outputs in alternating groups of `lanes`.
//
// Inputs are cut into scale blocks: the first has `first_block` inputs, the others `block`, the
// last what is left. e4m3: after block b the sums are multiplied by factors[b][lane], the ratio of
// its scale to the next one's, and after the last by that scale itself (kPairs: / 256), so sums never leave
// the registers. int8: factors[b][lane] are the scales. e2m1: as e4m3, with powers of two for scales, of
// which the biased exponents are kept: exponents[b][lane].
#pragma once

#include <cstdint>

namespace braid::cpu {

inline constexpr std::int64_t kPanel = 32;

enum class Layout : std::uint8_t { kRows, kPairs, kQuads };

struct Panels {
  const unsigned char* data;    // the first panel of one batch entry
  const float* factors;         // [panels][blocks][32]; null: none
  const unsigned char* exponents;  // [panels][blocks][32], for e2m1
  const std::uint64_t* irregular;  // [panels][irregular_words], for e4m3 in kPairs
  std::int64_t irregular_words;
  bool uniform;                 // instead [panels][blocks][2]: one factor for 16 lanes (kPairs only)
  std::int64_t panel_bytes;
  std::int64_t k;
  std::int64_t first_block;
  std::int64_t block;
  std::int64_t blocks;
};

// ops/grouped_mlp.h's Glu, and the biases of gates [n] and ups [n], one after the other, or null.
struct MicroGlu {
  float alpha;
  float limit;
  float up_offset;
  const float* bias;
};

// Rows [0, rows) times panels [panel0, panel1) into y.
struct MicroArgs {
  const unsigned char* x;       // in the kernel's element type
  std::int64_t x_stride;        // bytes
  const std::int32_t* index;    // row i is x + index[i] * x_stride; null: x + i * x_stride
  std::int64_t rows;
  Panels w;
  std::int64_t panel0;
  std::int64_t panel1;
  unsigned char* y;             // float32 or bfloat16
  std::int64_t y_stride;        // bytes
  std::int64_t n;               // outputs of all panels (gate_up: activations)
  bool y_bf16;
  bool accumulate;              // float32 y only
  const float* bias;            // [n], added to what gemm writes; null: none
  MicroGlu glu;                 // gate_up only
};

// load_row: `k` elements of a float32 or bfloat16 row into the kernel's type, zero-padded to a
// multiple of 4. An int8 row is k codes, padding to 64 bytes, then for each block of 128 a float32
// scale and 128 times the sum of its codes as int32.
struct Micro {
  bool x_bf16;                  // rows are bfloat16, else float32
  bool x_int8;                  // rows are quantised by load_row; gate_up's results are bfloat16
  Layout layout;
  int lanes;
  void (*gemm)(const MicroArgs&);
  void (*gate_up)(const MicroArgs&);
  void (*load_row)(const void* row, bool bf16, std::int64_t k, void* out);
};

// Indexed by ops::WeightFormat; a null gemm: not offered.
struct MicroTier {
  Micro micro[5];
};

extern const MicroTier kScalarGemm;
extern const MicroTier kAvx2Gemm;
extern const MicroTier kAvx512Gemm;
extern const MicroTier kAvx512Bf16Gemm;
extern const MicroTier kAmxGemm;

// The int8 functions of the AVX-512 VNNI tier, in a file of their own.
void int8_gemm(const MicroArgs& args);
void int8_gate_up(const MicroArgs& args);
void int8_load_row(const void* row, bool bf16, std::int64_t k, void* out);

}  // namespace braid::cpu
