// SPDX-License-Identifier: Apache-2.0
// Matrix kernels that widen weights to float32 and multiply with FMA, for any vector type V.
//
// Idea: a tile of up to kTileRows rows by two vectors of outputs stays in registers while the
// panel ([k][32]) streams by; each input costs two (widened) weight vectors and one broadcast a
// row. One or two rows take several panels at once, or each sum would wait for the one before.
// One accumulator an output, inputs in rising order: bit-identical for every tile height.
// Bound: 2 FMA a row and input; FMA throughput from four rows on, conversion or memory below.
#pragma once

#include "backend/cpu/gemm/gated.h"
#include "backend/cpu/gemm/micro.h"
#include "backend/cpu/simd/math.h"

namespace {

using braid::cpu::Layout;
using braid::cpu::Micro;
using braid::cpu::MicroArgs;
using braid::cpu::MicroTier;

using braid::cpu::Panels;

// How the weights of one input (kBytes of a panel) become vectors from output `lane` on, and what sums
// are multiplied by after block b of a panel.
struct LoadF32 {
  static constexpr int kBytes = 128;
  static constexpr bool kExponents = false;
  template <class V>
  static typename V::F load(const unsigned char* p, int lane) {
    return V::load(reinterpret_cast<const float*>(p) + lane);
  }
};

struct LoadBf16 {
  static constexpr int kBytes = 64;
  static constexpr bool kExponents = false;
  template <class V>
  static typename V::F load(const unsigned char* p, int lane) {
    return V::load_bf16(reinterpret_cast<const std::uint16_t*>(p) + lane);
  }
};

// Defined by the including file: codes to floats, exactly.
struct LoadF8 {
  static constexpr int kBytes = 32;
  static constexpr bool kExponents = false;
  template <class V>
  static typename V::F load(const unsigned char* p, int lane);
};

struct LoadF4 {
  static constexpr int kBytes = 16;
  static constexpr bool kExponents = true;
  template <class V>
  static typename V::F load(const unsigned char* p, int lane);
  // 2^(exponents[i] - minus[i]), minus null: 127.
  template <class V>
  static typename V::F power(const unsigned char* exponents, const unsigned char* minus);
};

template <class V, class Load>
inline typename V::F block_factor(const Panels& w, std::int64_t panel, std::int64_t b, int lane) {
  const std::int64_t at = (panel * w.blocks + b) * 32 + lane;
  if constexpr (Load::kExponents) {
    const unsigned char* now = w.exponents + at;
    return LoadF4::power<V>(now, b + 1 < w.blocks ? now + 32 : nullptr);
  } else {
    return V::load(w.factors + at);
  }
}

template <class V>
inline void store_outputs(const MicroArgs& a, std::int64_t row, std::int64_t column,
                          typename V::F v) {
  const std::int64_t left = a.n - column;
  if (left <= 0) return;
  const int n = left < V::kWidth ? static_cast<int>(left) : V::kWidth;
  unsigned char* y = a.y + row * a.y_stride;
  if (a.bias) v = V::add(v, load_row<V>(a.bias, false, column, n));
  if (a.accumulate) v = V::add(v, load_row<V>(y, a.y_bf16, column, n));
  store_row<V>(y, a.y_bf16, column, n, v);
}

// Rows [row, row + M) times panels [panel, panel + P), the outputs of `group`.
template <class V, class Load, int M, int P, bool kGated>
void widen_tile(const MicroArgs& a, std::int64_t row, std::int64_t panel, int group) {
  using F = typename V::F;
  const float* x[M];
  for (int m = 0; m < M; ++m) {
    const std::int64_t i = a.index ? a.index[row + m] : row + m;
    x[m] = reinterpret_cast<const float*>(a.x + i * a.x_stride);
  }
  const int lane = V::kWidth == 16 ? 0 : group * 2 * V::kWidth;
  const unsigned char* w = a.w.data + panel * a.w.panel_bytes;
  F c[M][2 * P];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
#pragma GCC unroll 8
    for (int j = 0; j < 2 * P; ++j) c[m][j] = V::zero();
  }
  std::int64_t k = 0;
  for (std::int64_t b = 0; b < a.w.blocks; ++b) {
    const std::int64_t end = b + 1 == a.w.blocks ? a.w.k : a.w.first_block + b * a.w.block;
    for (; k < end; ++k) {
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) {
        const unsigned char* from = w + p * a.w.panel_bytes + k * Load::kBytes;
        const F w0 = Load::template load<V>(from, lane);
        const F w1 = Load::template load<V>(from, lane + V::kWidth);
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m) {
          const F xk = V::set1(x[m][k]);
          c[m][2 * p] = V::fma(xk, w0, c[m][2 * p]);
          c[m][2 * p + 1] = V::fma(xk, w1, c[m][2 * p + 1]);
        }
      }
    }
    if (!Load::kExponents && !a.w.factors) continue;
#pragma GCC unroll 8
    for (int j = 0; j < 2 * P; ++j) {
      const F factor = block_factor<V, Load>(a.w, panel + j / 2, b, lane + j % 2 * V::kWidth);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) c[m][j] = V::mul(c[m][j], factor);
    }
  }
  for (int m = 0; m < M; ++m) {
    for (int p = 0; p < P; ++p) {
      if constexpr (kGated) {
        const std::int64_t column = (panel + p) * 16 + lane / 2;
        store_outputs<V>(a, row + m, column, gated<V>(a, column, c[m][2 * p], c[m][2 * p + 1]));
      } else {
        store_outputs<V>(a, row + m, (panel + p) * 32 + lane, c[m][2 * p]);
        store_outputs<V>(a, row + m, (panel + p) * 32 + lane + V::kWidth, c[m][2 * p + 1]);
      }
    }
  }
}

template <class V, class Load, int M, bool kGated>
void widen_rows(const MicroArgs& a, std::int64_t row, std::int64_t count, std::int64_t panel,
                int group) {
  if (count == M) {
    widen_tile<V, Load, M, 1, kGated>(a, row, panel, group);
  } else if constexpr (M > 1) {
    widen_rows<V, Load, M - 1, kGated>(a, row, count, panel, group);
  }
}

// All rows, of which there are M, P panels at a time.
template <class V, class Load, int M, int P, bool kGated>
void widen_few_rows(const MicroArgs& a) {
  constexpr int kGroups = 32 / (2 * V::kWidth);
  std::int64_t panel = a.panel0;
  for (; panel + P <= a.panel1; panel += P) {
    for (int group = 0; group < kGroups; ++group) widen_tile<V, Load, M, P, kGated>(a, 0, panel, group);
  }
  for (; panel < a.panel1; ++panel) {
    for (int group = 0; group < kGroups; ++group) widen_tile<V, Load, M, 1, kGated>(a, 0, panel, group);
  }
}

template <class V, class Load, int kTileRows, bool kGated>
void widen_gemm(const MicroArgs& a) {
  constexpr int kPanels = kTileRows / 2 < 4 ? kTileRows / 2 : 4;
  if (a.rows == 1) return widen_few_rows<V, Load, 1, kPanels, kGated>(a);
  if (a.rows == 2) return widen_few_rows<V, Load, 2, kPanels / 2, kGated>(a);
  const std::int64_t tiles = (a.rows + kTileRows - 1) / kTileRows;
  for (std::int64_t panel = a.panel0; panel < a.panel1; ++panel) {
    for (int group = 0; group < 32 / (2 * V::kWidth); ++group) {
      for (std::int64_t t = 0; t < tiles; ++t) {
        const std::int64_t row = a.rows * t / tiles;
        const std::int64_t next = a.rows * (t + 1) / tiles;
        widen_rows<V, Load, kTileRows, kGated>(a, row, next - row, panel, group);
      }
    }
  }
}

template <class V>
void widen_load_row(const void* row, bool bf16, std::int64_t k, void* out) {
  auto* to = static_cast<float*>(out);
  std::int64_t i = 0;
  for (; i + V::kWidth <= k; i += V::kWidth) V::store(to + i, load_row<V>(row, bf16, i, V::kWidth));
  if (i < k) {
    const int n = static_cast<int>(k - i);
    V::store(to + i, load_row<V>(row, bf16, i, n), n);
  }
  for (i = k; i % 4; ++i) to[i] = 0;
}

template <class V, class Load, int kTileRows>
constexpr Micro widen_micro() {
  return {false,
          false,
          Layout::kRows,
          V::kWidth,
          widen_gemm<V, Load, kTileRows, false>,
          widen_gemm<V, Load, kTileRows, true>,
          widen_load_row<V>};
}

template <class V, int kTileRows>
constexpr MicroTier widen_tier() {
  return {{widen_micro<V, LoadF32, kTileRows>(),
           widen_micro<V, LoadBf16, kTileRows>(),
           widen_micro<V, LoadF8, kTileRows>(),
           {},
           widen_micro<V, LoadF4, kTileRows>()}};
}

}  // namespace
