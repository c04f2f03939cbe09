// SPDX-License-Identifier: Apache-2.0
// Tile products: TDPBF16PS (16 x 16 x 32 products) and TDPBSUD (16 x 16 x 64).
#include "backend/cpu/machine/loops.h"
#include "backend/cpu/simd/amx.h"

namespace {

template <bool kInt8, int kSums>
void product() {
  if constexpr (kInt8) {
    AmxTiles::dot_int8<kSums, 4, 5>();
  } else {
    AmxTiles::dot_bf16<kSums, 4, 5>();
  }
}

template <bool kInt8>
void loop(std::int64_t iterations) {
  AmxTiles::configure(16);
  AmxTiles::zero<4>();
  AmxTiles::zero<5>();
  for (std::int64_t n = 0; n < iterations; ++n) {
    product<kInt8, 0>();
    product<kInt8, 1>();
    product<kInt8, 2>();
    product<kInt8, 3>();
  }
  AmxTiles::release();
}

}  // namespace

namespace braid::cpu {

extern const PeakLoop kAmxBf16Peak = {loop<false>, 2.0 * 4 * 16 * 16 * 32};
extern const PeakLoop kAmxInt8Peak = {loop<true>, 2.0 * 4 * 16 * 16 * 64};

}  // namespace braid::cpu
