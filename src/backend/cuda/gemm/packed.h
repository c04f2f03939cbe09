// SPDX-License-Identifier: Apache-2.0
// How weights lie in GPU memory for the GEMM kernels.
//
// A matrix [n, k] is cut into tiles of 128 outputs by 128 bytes of inputs (128 e4m3 or 64 bf16),
// 16 KiB each, so that a pipeline stage is one contiguous copy:
//   weights = [group][n block][k block] tile
//   tile    = 128 rows of 128 bytes, the 16-byte unit u of row r at unit u ^ (r % 8)
//   scales  = [group][n block][k block][4] float32: of outputs 0..63 and 64..127, which may differ,
//             then both again, since the copy engine moves 16 bytes at least (e4m3 only)
// The swizzle is the one that tensor cores read. Outputs and inputs past n and k are zero.
#pragma once

#include <cstddef>
#include <cstdint>

namespace braid::cuda {

enum class Precision { kFp8, kBf16 };

inline constexpr int kTileOutputs = 128;
inline constexpr int kTileRowBytes = 128;
inline constexpr int kTileBytes = kTileOutputs * kTileRowBytes;
inline constexpr int kTileScales = 4;

constexpr int element_bytes(Precision precision) { return precision == Precision::kFp8 ? 1 : 2; }
constexpr int tile_inputs(Precision precision) { return kTileRowBytes / element_bytes(precision); }

struct PackedShape {
  Precision precision = Precision::kFp8;
  int groups = 1;
  int n = 0;
  int k = 0;

  constexpr int n_blocks() const { return (n + kTileOutputs - 1) / kTileOutputs; }
  constexpr int k_blocks() const {
    return (k + tile_inputs(precision) - 1) / tile_inputs(precision);
  }
  constexpr std::size_t tiles() const {
    return static_cast<std::size_t>(groups) * n_blocks() * k_blocks();
  }
  constexpr std::size_t weight_bytes() const { return tiles() * kTileBytes; }
  constexpr std::size_t scale_bytes() const {
    return precision == Precision::kFp8 ? tiles() * kTileScales * sizeof(float) : 0;
  }
};

// Byte of (row, byte) inside a tile.
constexpr int tile_offset(int row, int byte) {
  return row * kTileRowBytes + ((byte / 16) ^ (row % 8)) * 16 + byte % 16;
}

}  // namespace braid::cuda
