// SPDX-License-Identifier: Apache-2.0
// AMX's eight tiles of 16 rows of 64 bytes, one function per instruction. emulated_tiles.h has the
// same functions in plain C++. Results lie in tiles 0 to 3, inputs in 4, weights in 5 to 7.
#pragma once

#if defined(__AMX_BF16__) && defined(__AMX_INT8__)

#include <cstdint>

namespace {

struct AmxTiles {
  // Gives results and inputs `rows` rows, weights 16. Comes before any other function; release()
  // after the last makes a switch of threads cheap again.
  static void configure(int rows) {
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {};
    } layout;
    for (int tile = 0; tile < 8; ++tile) {
      layout.rows[tile] = static_cast<std::uint8_t>(tile < 5 ? rows : 16);
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(layout));
  }
  static void release() { __asm__ volatile("tilerelease"); }

  template <int kTile>
  static void zero() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  // Rows lie `stride` bytes apart.
  template <int kTile>
  static void load(const void* from, std::int64_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void store(void* to, std::int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  // sums[m][n] += sum over 16 groups g of inputs[m][g] . weights[g][n]. A group is a pair of
  // bfloat16: the products of its first and of its second halves are summed apart, with denormals
  // as zero, before both are added to the result.
  template <int kSums, int kInputs, int kWeights>
  static void dot_bf16() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0"
                     : : "i"(kSums), "i"(kInputs), "i"(kWeights));
  }
  // The same in int32: a group is four signed inputs, four unsigned weights.
  template <int kSums, int kInputs, int kWeights>
  static void dot_int8() {
    __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0"
                     : : "i"(kSums), "i"(kInputs), "i"(kWeights));
  }
};

}  // namespace

#endif
