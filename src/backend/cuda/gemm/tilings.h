// SPDX-License-Identifier: Apache-2.0
// The tilings that are built. Adding one here is all it takes.
#pragma once

#include <array>

#include "backend/cuda/gemm/packed.h"
#include "backend/cuda/gemm/tiling.h"

namespace braid::cuda {

// rows, columns, math_m, math_n, cluster_m, cluster_n, stages, box_rows, store_buffers, overlap,
// block_cycles
inline constexpr std::array kFp8Tilings = {
    Tiling{192, 128, 3, 1, 1, 2, 4, 96, 2, Overlap::kTurns, 860},
    Tiling{128, 256, 2, 1, 2, 1, 4, 128, 2, Overlap::kParts, 1310},
    Tiling{128, 128, 2, 1, 2, 1, 5, 128, 2, Overlap::kParts, 620},
    Tiling{128, 128, 2, 1, 1, 1, 5, 64, 2, Overlap::kParts, 720},
    Tiling{64, 256, 1, 2, 1, 1, 5, 16, 1, Overlap::kParts, 850},
    Tiling{64, 128, 1, 2, 1, 1, 8, 64, 1, Overlap::kParts, 520},
    Tiling{64, 64, 1, 2, 2, 1, 12, 64, 2, Overlap::kParts, 400},
    Tiling{64, 64, 1, 2, 1, 1, 12, 64, 2, Overlap::kParts, 430},
};
inline constexpr std::array kBf16Tilings = {
    Tiling{128, 256, 1, 2, 2, 1, 4, 128, 2, Overlap::kParts, 1050},
    Tiling{128, 128, 2, 1, 2, 1, 6, 128, 1, Overlap::kParts, 640},
    Tiling{64, 256, 1, 2, 1, 1, 5, 16, 1, Overlap::kParts, 850},
    Tiling{64, 128, 1, 2, 1, 1, 8, 16, 2, Overlap::kParts, 480},
    Tiling{64, 64, 1, 2, 2, 1, 12, 64, 2, Overlap::kParts, 350},
};

template <Precision kPrecision>
constexpr Tiling built_tiling(int index) {
  if constexpr (kPrecision == Precision::kFp8) {
    return kFp8Tilings[index];
  } else {
    return kBf16Tilings[index];
  }
}

}  // namespace braid::cuda
