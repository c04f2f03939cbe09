// SPDX-License-Identifier: Apache-2.0
// For tests: the tiles of amx.h in plain C++, so that kernels over them run on any processor.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace braid::cpu {

struct EmulatedTiles {
  static void configure(int rows) {
    for (int tile = 0; tile < 8; ++tile) {
      tiles[tile].rows = tile < 5 ? rows : 16;
      std::memset(tiles[tile].bytes, 0, sizeof(tiles[tile].bytes));
    }
  }
  static void release() { std::memset(tiles, 0, sizeof(tiles)); }

  template <int kTile>
  static void zero() {
    std::memset(tiles[kTile].bytes, 0, sizeof(tiles[kTile].bytes));
  }
  template <int kTile>
  static void load(const void* from, std::int64_t stride) {
    for (int m = 0; m < tiles[kTile].rows; ++m) {
      std::memcpy(tiles[kTile].bytes[m], static_cast<const char*>(from) + m * stride, 64);
    }
  }
  template <int kTile>
  static void store(void* to, std::int64_t stride) {
    for (int m = 0; m < tiles[kTile].rows; ++m) {
      std::memcpy(static_cast<char*>(to) + m * stride, tiles[kTile].bytes[m], 64);
    }
  }
  template <int kSums, int kInputs, int kWeights>
  static void dot_bf16() {
    for (int m = 0; m < tiles[kSums].rows; ++m) {
      for (int n = 0; n < 16; ++n) {
        float halves[2] = {0, 0};
        for (int g = 0; g < tiles[kWeights].rows; ++g) {
          for (int i = 0; i < 2; ++i) {
            halves[i] = std::fma(bf16(kInputs, m, 2 * g + i), bf16(kWeights, g, 2 * n + i), halves[i]);
          }
        }
        float sum;
        std::memcpy(&sum, tiles[kSums].bytes[m] + 4 * n, 4);
        sum += halves[0] + halves[1];
        std::memcpy(tiles[kSums].bytes[m] + 4 * n, &sum, 4);
      }
    }
  }
  template <int kSums, int kInputs, int kWeights>
  static void dot_int8() {
    for (int m = 0; m < tiles[kSums].rows; ++m) {
      for (int n = 0; n < 16; ++n) {
        std::int32_t sum;
        std::memcpy(&sum, tiles[kSums].bytes[m] + 4 * n, 4);
        for (int i = 0; i < 4 * tiles[kWeights].rows; ++i) {
          sum += static_cast<std::int8_t>(tiles[kInputs].bytes[m][i]) *
                 tiles[kWeights].bytes[i / 4][4 * n + i % 4];
        }
        std::memcpy(tiles[kSums].bytes[m] + 4 * n, &sum, 4);
      }
    }
  }

 private:
  struct Tile {
    int rows;
    unsigned char bytes[16][64];
  };
  static float bf16(int tile, int row, int i) {
    std::uint16_t half;
    std::memcpy(&half, tiles[tile].bytes[row] + 2 * i, 2);
    const std::uint32_t bits = std::uint32_t{half} << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  }
  static inline thread_local Tile tiles[8];
};

}  // namespace braid::cpu
