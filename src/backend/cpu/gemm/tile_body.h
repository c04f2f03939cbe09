// SPDX-License-Identifier: Apache-2.0
// Matrix kernels over tiles: T as simd/amx.h, V a vector type of ../simd.
//
// Idea: a tile product takes 16 rows by 16 groups (4 bytes: 2 bfloat16 or 4 int8 inputs) by 16
// outputs, and a panel of pairs or quads already lies as its weights must: [groups][32][4 bytes].
// Inputs are cut into pieces of at most 128 that end where a scale block does; a piece of 64 rows
// and 4 panels is multiplied before the next, its sums rest in the second-level cache in between.
// Rows that lie apart, and what a ragged piece lacks, are copied and filled up with zeros; e4m3
// codes are turned to bfloat16 once for 64 rows, and so are e2m1 codes times their scales. A row tile by two panels fills four tiles of sums.
// 17 rows are two row tiles that overlap, of which each row is written once: all tiles of a call
// have the same height.
// An output takes its pieces and steps in an order that the weight alone fixes: bit-identical for
// every number of rows.
// Bound: TDPBF16PS and TDPBSUD from 16 rows on; memory below.
#pragma once

#include "backend/cpu/gemm/gated.h"
#include "backend/cpu/gemm/micro.h"
#include "backend/cpu/gemm/widen_body.h"
#include "backend/cpu/simd/math.h"

namespace {

inline constexpr std::int64_t kTileRows = 16;
inline constexpr std::int64_t kTileBytes = 1024;
inline constexpr std::int64_t kRowTiles = 4;
inline constexpr std::int64_t kBlockPanels = 4;
inline constexpr std::int64_t kPieceInputs = 128;

// Sixteen int32 sums less `offset` as floats, V::kWidth at a time; the including file's.
template <class V>
typename V::F floats_of(const std::int32_t* sums, std::int32_t offset);

// Weights of a format: how many inputs a group has, and how `groups` of them become tiles' bytes;
// `exponents` as in micro.h, from the block in which they begin.
struct Bf16Groups {
  static constexpr int kInputs = 2;
  static constexpr std::int64_t kBytes = 128;  // of one group of a panel
  static constexpr bool kAsTiles = true;       // they lie as tiles want them
  static constexpr bool kExponents = false;
  static void expand(const unsigned char* from, const unsigned char*, std::int64_t groups, unsigned char* to) {
    __builtin_memcpy(to, from, static_cast<std::size_t>(groups * kBytes));
  }
};

struct Int8Groups : Bf16Groups {
  static constexpr int kInputs = 4;
};

// The including file's.
struct F8Groups {
  static constexpr int kInputs = 2;
  static constexpr std::int64_t kBytes = 64;
  static constexpr bool kAsTiles = false;
  static constexpr bool kExponents = false;
  static void expand(const unsigned char* from, const unsigned char* exponents, std::int64_t groups, unsigned char* to);
};

struct F4Groups : F8Groups {
  static constexpr std::int64_t kBytes = 32;
  static constexpr std::int64_t kBlockGroups = 16;  // that share a scale
  static constexpr bool kExponents = true;
  static void expand(const unsigned char* from, const unsigned char* exponents, std::int64_t groups, unsigned char* to);
};

// Inputs [first, first + count) of scale block `block`.
struct Piece {
  std::int64_t first;
  std::int64_t count;
  std::int64_t block;
  bool ends_block;
};

// 16 rows of a piece: a step's tile begins `step` bytes after the one before.
struct RowTile {
  const unsigned char* data;
  std::int64_t stride;
  std::int64_t step;
};

// Rows [row, row + rows) times panels [panel, panel + panels), at most 64 by 4.
template <class T, class V, class Groups, bool kGated>
class TileBlock {
 public:
  TileBlock(const MicroArgs& a, std::int64_t row, std::int64_t rows, std::int64_t panel,
            std::int64_t panels)
      : a_(a), row_(row), rows_(rows), panel_(panel), panels_(panels),
        height_(rows < kTileRows ? rows : kTileRows), tiles_((rows + kTileRows - 1) / kTileRows) {}

  void run() {
    std::int64_t k = 0;
    const std::int64_t blocks = Groups::kExponents ? 1 : a_.w.blocks;
    for (std::int64_t b = 0; b < blocks; ++b) {
      const std::int64_t end = b + 1 == blocks ? a_.w.k : a_.w.first_block + b * a_.w.block;
      while (k < end) {
        const std::int64_t count = end - k < kPieceInputs ? end - k : kPieceInputs;
        add({k, count, b, k + count == end});
        k += count;
      }
    }
    for (std::int64_t t = 0; t < tiles_; ++t) store(t);
  }

 private:
  static constexpr bool kInts = Groups::kInputs == 4;

  std::int64_t first_row(std::int64_t tile) const {
    const std::int64_t first = tile * kTileRows;
    return first + height_ <= rows_ ? first : rows_ - height_;
  }
  const unsigned char* x(std::int64_t row) const {
    return a_.x + (a_.index ? a_.index[row_ + row] : row_ + row) * a_.x_stride;
  }
  float* sums(std::int64_t tile, std::int64_t panel) { return sums_[tile][panel * 2]; }

  void add(const Piece& piece) {
    const std::int64_t groups = (piece.count + Groups::kInputs - 1) / Groups::kInputs;
    const std::int64_t steps = (groups + kTileRows - 1) / kTileRows;
    RowTile rows[kRowTiles];
    for (std::int64_t t = 0; t < tiles_; ++t) rows[t] = rows_of(t, piece, groups);
    for (std::int64_t p = 0; p < panels_; p += 2) {
      const int count = p + 1 < panels_ ? 2 : 1;
      const unsigned char* w[2];
      for (int i = 0; i < count; ++i) w[i] = weights_of(p + i, piece, groups, copies_[i]);
      for (std::int64_t t = 0; t < tiles_; ++t) {
        void* c = kInts ? static_cast<void*>(ints_) : sums(t, p);
        const bool fresh = kInts || piece.first == 0;
        count == 2 ? multiply<2>(rows[t], w, steps, c, fresh) : multiply<1>(rows[t], w, steps, c, fresh);
        for (int i = 0; i < count; ++i) {
          if constexpr (kInts) {
            add_ints(t, p + i, piece, ints_ + i * 2 * 256);
          } else if (a_.w.factors && piece.ends_block) {
            scale(t, p + i, piece.block);
          }
        }
      }
    }
  }

  RowTile rows_of(std::int64_t t, const Piece& piece, std::int64_t groups) {
    const std::int64_t at = piece.first / Groups::kInputs * 4;
    if (!a_.index && groups % kTileRows == 0) return {x(first_row(t)) + at, a_.x_stride, 64};
    for (std::int64_t m = 0; m < height_; ++m) {
      const unsigned char* from = x(first_row(t) + m) + at;
      unsigned char* to = inputs_[t] + m * 64;
      std::int64_t left = groups * 4;
      for (; left >= 64; left -= 64, from += 64, to += kTileBytes) __builtin_memcpy(to, from, 64);
      if (left == 0) continue;
      __builtin_memset(to, 0, 64);
      __builtin_memcpy(to, from, static_cast<std::size_t>(left));
    }
    return {inputs_[t], 64, kTileBytes};
  }

  const unsigned char* weights_of(std::int64_t p, const Piece& piece, std::int64_t groups,
                                  unsigned char* copy) const {
    const std::int64_t bytes = groups * Groups::kBytes;
    const unsigned char* from = a_.w.data + (panel_ + p) * a_.w.panel_bytes +
                                piece.first / Groups::kInputs * Groups::kBytes;
    for (std::int64_t i = bytes; i < 2 * bytes; i += 64) __builtin_prefetch(from + i, 0, 2);
    if (Groups::kAsTiles && groups % kTileRows == 0) return from;
    const unsigned char* exponents = nullptr;
    if constexpr (Groups::kExponents) {
      exponents = a_.w.exponents + ((panel_ + p) * a_.w.blocks + piece.first / (2 * Groups::kBlockGroups)) * 32;
    }
    Groups::expand(from, exponents, groups, copy);
    const std::int64_t missing = -groups & (kTileRows - 1);
    __builtin_memset(copy + groups * 128, 0, static_cast<std::size_t>(missing * 128));
    return copy;
  }

  template <int kC, int kW>
  static void dot(const unsigned char* weights) {
    T::template load<kW>(weights, 128);
    if constexpr (kInts) {
      T::template dot_int8<kC, 4, kW>();
    } else {
      T::template dot_bf16<kC, 4, kW>();
    }
  }

  // c: tile after tile, two for each of P panels.
  template <int P>
  static void multiply(const RowTile& rows, const unsigned char* const* w, std::int64_t steps,
                       void* c, bool fresh) {
    auto* to = static_cast<unsigned char*>(c);
    if (fresh) {
      T::template zero<0>();
      T::template zero<1>();
      if constexpr (P == 2) T::template zero<2>();
      if constexpr (P == 2) T::template zero<3>();
    } else {
      T::template load<0>(to, 64);
      T::template load<1>(to + kTileBytes, 64);
      if constexpr (P == 2) T::template load<2>(to + 2 * kTileBytes, 64);
      if constexpr (P == 2) T::template load<3>(to + 3 * kTileBytes, 64);
    }
    for (std::int64_t s = 0; s < steps; ++s) {
      T::template load<4>(rows.data + s * rows.step, rows.stride);
      dot<0, 5>(w[0] + s * 2048);
      dot<1, 6>(w[0] + s * 2048 + 64);
      if constexpr (P == 2) dot<2, 7>(w[1] + s * 2048);
      if constexpr (P == 2) dot<3, 5>(w[1] + s * 2048 + 64);
    }
    T::template store<0>(to, 64);
    T::template store<1>(to + kTileBytes, 64);
    if constexpr (P == 2) T::template store<2>(to + 2 * kTileBytes, 64);
    if constexpr (P == 2) T::template store<3>(to + 3 * kTileBytes, 64);
  }

  void scale(std::int64_t t, std::int64_t p, std::int64_t block) {
    const std::int64_t lanes = a_.w.uniform ? 2 : 32;
    const float* factors = a_.w.factors + ((panel_ + p) * a_.w.blocks + block) * lanes;
    for (int lane = 0; lane < 32; lane += V::kWidth) {
      const auto f = a_.w.uniform ? V::set1(factors[lane / 16]) : V::load(factors + lane);
      float* c = sums(t, p) + lane / 16 * 256 + lane % 16;
      for (std::int64_t m = 0; m < height_; ++m) V::store(c + m * 16, V::mul(V::load(c + m * 16), f));
    }
  }

  void add_ints(std::int64_t t, std::int64_t p, const Piece& piece, const std::int32_t* ints) {
    const std::int64_t scales_at = (a_.w.k + 63) / 64 * 64 + piece.block * 8;
    const float* factors = a_.w.factors + ((panel_ + p) * a_.w.blocks + piece.block) * 32;
    for (std::int64_t m = 0; m < height_; ++m) {
      struct {
        float scale;
        std::int32_t offset;
      } row;
      __builtin_memcpy(&row, x(first_row(t) + m) + scales_at, sizeof(row));
      for (int lane = 0; lane < 32; lane += V::kWidth) {
        const std::int64_t at = lane / 16 * 256 + m * 16 + lane % 16;
        const auto factor = V::mul(V::set1(row.scale), V::load(factors + lane));
        float* c = sums(t, p) + at;
        const auto before = piece.first == 0 ? V::zero() : V::load(c);
        V::store(c, V::fma(floats_of<V>(ints + at, row.offset), factor, before));
      }
    }
  }

  void store(std::int64_t t) {
    for (std::int64_t m = t * kTileRows - first_row(t); m < height_; ++m) {
      const std::int64_t row = row_ + first_row(t) + m;
      for (std::int64_t p = 0; p < panels_; ++p) {
        const float* c = sums(t, p) + m * 16;
        for (int lane = 0; lane < 16; lane += V::kWidth) {
          const auto v0 = V::load(c + lane);
          const auto v1 = V::load(c + 256 + lane);
          if constexpr (kGated) {
            const std::int64_t column = (panel_ + p) * 16 + lane;
            store_outputs<V>(a_, row, column, gated<V>(a_, column, v0, v1));
          } else {
            store_outputs<V>(a_, row, (panel_ + p) * 32 + lane, v0);
            store_outputs<V>(a_, row, (panel_ + p) * 32 + 16 + lane, v1);
          }
        }
      }
    }
  }

  const MicroArgs& a_;
  const std::int64_t row_, rows_, panel_, panels_;
  const std::int64_t height_;  // of every row tile
  const std::int64_t tiles_;
  alignas(64) float sums_[kRowTiles][2 * kBlockPanels][256];
  alignas(64) std::int32_t ints_[4 * 256];
  alignas(64) unsigned char inputs_[kRowTiles][2 * kPieceInputs * kTileRows];
  alignas(64) unsigned char copies_[2][kPieceInputs / 2 * 128];
};

template <class T, class V, class Groups, bool kGated>
void tile_gemm(const MicroArgs& a) {
  if (a.rows == 0) return;
  T::configure(static_cast<int>(a.rows < kTileRows ? a.rows : kTileRows));
  const std::int64_t row_blocks = (a.rows + 63) / 64;
  for (std::int64_t panel = a.panel0; panel < a.panel1; panel += kBlockPanels) {
    const std::int64_t left = a.panel1 - panel;
    for (std::int64_t r = 0; r < row_blocks; ++r) {
      const std::int64_t row = a.rows * r / row_blocks;
      const std::int64_t next = a.rows * (r + 1) / row_blocks;
      TileBlock<T, V, Groups, kGated>(a, row, next - row, panel,
                                      left < kBlockPanels ? left : kBlockPanels).run();
    }
  }
  T::release();
}

template <class V>
void tile_load_row(const void* row, bool bf16, std::int64_t k, void* out) {
  auto* to = static_cast<std::uint16_t*>(out);
  for (std::int64_t i = 0; i < k; i += V::kWidth) {
    const int n = part<V>(k, i);
    store_row<V>(to, true, i, n, load_row<V>(row, bf16, i, n));
  }
  for (std::int64_t i = k; i % 4; ++i) to[i] = 0;
}

template <class T, class V>
constexpr MicroTier tile_tier(void (*int8_load_row)(const void*, bool, std::int64_t, void*)) {
  return {{{},
           {true, false, Layout::kPairs, 16, tile_gemm<T, V, Bf16Groups, false>,
            tile_gemm<T, V, Bf16Groups, true>, tile_load_row<V>},
           {true, false, Layout::kPairs, 16, tile_gemm<T, V, F8Groups, false>,
            tile_gemm<T, V, F8Groups, true>, tile_load_row<V>},
           {false, true, Layout::kQuads, 16, tile_gemm<T, V, Int8Groups, false>,
            tile_gemm<T, V, Int8Groups, true>, int8_load_row},
           {true, false, Layout::kPairs, 16, tile_gemm<T, V, F4Groups, false>,
            tile_gemm<T, V, F4Groups, true>, tile_load_row<V>}}};
}

}  // namespace
