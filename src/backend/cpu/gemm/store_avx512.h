// SPDX-License-Identifier: Apache-2.0
// How the AVX-512 dot-product kernels write sixteen outputs of a row.
#pragma once

#include <immintrin.h>

#include "backend/cpu/gemm/micro.h"

namespace {

using braid::cpu::MicroArgs;

inline void store16(const MicroArgs& a, std::int64_t row, std::int64_t column, __m512 v) {
  const std::int64_t left = a.n - column;
  if (left <= 0) return;
  const __mmask16 mask = left >= 16 ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
  unsigned char* y = a.y + row * a.y_stride;
  if (a.bias) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, a.bias + column));
  if (a.y_bf16) {
    _mm256_mask_storeu_epi16(reinterpret_cast<std::uint16_t*>(y) + column, mask,
                             reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v)));
    return;
  }
  float* out = reinterpret_cast<float*>(y) + column;
  if (a.accumulate) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, out));
  _mm512_mask_storeu_ps(out, mask, v);
}

}  // namespace
