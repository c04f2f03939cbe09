// SPDX-License-Identifier: Apache-2.0
// The shared memory of a GEMM block, and the sizes that follow from its tiling.
//
//   activations [stages][rows][128 bytes]      swizzled, multiples of 1024
//   weights     [stages][columns][128 bytes]   swizzled, as packed
//   output      [math warps][store buffers][16 rows][chunk columns] bf16, swizzled
//   scales      [stages][rows + 4] float32 of the activations, [stages][n blocks][4] of the weights
//   barriers    full [stages], empty [stages]
//   group ends  [groups] the first tile behind each
#pragma once

#include <cstdint>
#include <utility>

#include "backend/cuda/gemm/gemm.h"
#include "backend/cuda/gemm/packed.h"
#include "backend/cuda/gemm/tiling.h"

namespace braid::cuda {

template <Precision kPrecision, Tiling kT>
struct SharedMap {
  static constexpr Tiling kTiling = kT;
  static constexpr bool kScaled = kPrecision == Precision::kFp8;
  static constexpr bool kCountsTiles = kT.rows == 64;  // tile_order.cuh
  static constexpr int kMathWarps = kT.math_groups() * 4;
  static constexpr int kGroupRows = kT.rows / kT.math_m;
  static constexpr int kGroupColumns = kT.columns / kT.math_n;
  // A warpgroup's share of the tile is cut into pieces of one product each: waves of 64 rows, parts
  // of columns.
  static constexpr bool kInParts = kScaled && kT.overlap == Overlap::kParts;
  static constexpr int kWaves = kGroupRows / 64;
  static constexpr bool kFits = kT.math_groups() < 3 && kWaves * kGroupColumns <= 128;
  static constexpr int kPartColumns = kInParts && not kFits ? 64 : kGroupColumns;
  static constexpr int kParts = kGroupColumns / kPartColumns;
  static constexpr int kPieces = kWaves * kParts;
  static constexpr int kSums = kPartColumns / 2;  // accumulators of a thread in one piece
  static constexpr int kChunk = kGroupColumns < 64 ? kGroupColumns : 64;  // columns of one store
  static constexpr int kSliceColumns = kT.columns / kT.cluster_m;  // weights that one block loads
  static constexpr int kCopyColumns = kSliceColumns < kTileOutputs ? kSliceColumns : kTileOutputs;

  static_assert(kGroupRows % 64 == 0 && kGroupColumns % kPartColumns == 0 && kPartColumns <= 128);
  static_assert(kT.columns <= 256 && kT.rows % kT.box_rows == 0 && kT.box_rows % 8 == 0);
  static_assert(kT.overlap != Overlap::kTurns or (kT.math_groups() > 1 and kPieces == 1));

  static constexpr int kActivationBytes = kT.rows * kTileRowBytes;
  static constexpr int kWeightBytes = kT.columns * kTileRowBytes;
  static constexpr int kStoreBytes = 16 * kChunk * 2;
  static constexpr int kWeightScales = (kT.columns + 127) / 128 * kTileScales;
  static constexpr int kScaleBytes = (scale_box(kT.rows) * 4 + 127) / 128 * 128;

  static constexpr int kWeights = kT.stages * kActivationBytes;
  static constexpr int kOutput = kWeights + kT.stages * kWeightBytes;
  static constexpr int kScales = kOutput + kMathWarps * kT.store_buffers * kStoreBytes;
  static constexpr int kWeightScale = kScales + (kScaled ? kT.stages * kScaleBytes : 0);
  static constexpr int kFull = kWeightScale + (kScaled ? kT.stages * kWeightScales * 4 : 0);
  static constexpr int kEmpty = kFull + kT.stages * 8;
  static constexpr int kGroupEnds = kEmpty + kT.stages * 8;
  static constexpr int kBytes = kGroupEnds + (kCountsTiles ? kMostGemmGroups * sizeof(int) : 0);
  static_assert(kBytes <= 232448, "a block of Hopper has 227 KiB");

  std::uint32_t base;  // shared address, a multiple of 1024

  __device__ std::uint32_t activations(int stage) const { return base + stage * kActivationBytes; }
  __device__ std::uint32_t weights(int stage) const {
    return base + kWeights + stage * kWeightBytes;
  }
  __device__ std::uint32_t output(int warp, int buffer) const {
    return base + kOutput + (warp * kT.store_buffers + buffer) * kStoreBytes;
  }
  __device__ std::uint32_t scales(int stage) const { return base + kScales + stage * kScaleBytes; }
  __device__ std::uint32_t weight_scales(int stage) const {
    return base + kWeightScale + stage * kWeightScales * 4;
  }
  __device__ std::uint32_t full(int stage) const { return base + kFull + stage * 8; }
  __device__ std::uint32_t empty(int stage) const { return base + kEmpty + stage * 8; }
};

// body(0), body(1), ... with constants: accumulators may only be indexed by what compilers know.
template <int kCount, class Body>
__device__ __forceinline__ void unrolled(Body&& body) {
  [&]<int... kIndex>(std::integer_sequence<int, kIndex...>) {
    (body(std::integral_constant<int, kIndex>{}), ...);
  }(std::make_integer_sequence<int, kCount>{});
}

// Position in the ring of stages; waits on parity, which flips at every turn of the ring.
template <int kStages>
struct Ring {
  int stage = 0;
  std::uint32_t parity = 0;

  __device__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

}  // namespace braid::cuda
