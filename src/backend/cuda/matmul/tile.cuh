// SPDX-License-Identifier: Apache-2.0
// Two ways to multiply a few rows of x by the rows of a weight on any GPU with BF16 tensor cores;
// both give the same bits, so that a row does not feel how many others there are.
//
// The inputs are cut into kRanges contiguous ranges of whole blocks of 128. Inside a range, products
// are summed by mma.sync from zero (FP8: block by block, each block times its scale), and the sums
// of the ranges are added in rising order. Inside a step of 32 inputs, lane q of four holds inputs
// 8q to 8q + 7 of its rows, so that every load has 16 bytes; both operands are permuted alike.
//
// FP8 weights become bfloat16 in registers, exactly: the code's bits moved, times 2^120.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <type_traits>

#include "backend/cuda/ptx/async_copy.cuh"
#include "backend/cuda/ptx/mma.cuh"

namespace braid::cuda {

inline constexpr int kRanges = 8;
inline constexpr int kBlockK = 128;
inline constexpr int kSmallRows = 16;
inline constexpr int kLargeCols = 128;
inline constexpr int kSmallThreads = 32 * kRanges;
inline constexpr int kLargeThreads = 256;
// FP8 has one more level of sums to hold in registers.
template <bool kF8>
inline constexpr int kLargeTilesM = kF8 ? 2 : 4;  // of 16 rows, a warp
template <bool kF8>
inline constexpr int kLargeRows = 32 * kLargeTilesM<kF8>;

// Rows of x against rows of w; k is a multiple of 8, rows are 16-byte aligned (FP8: 8).
struct Tile {
  const __nv_bfloat16* x = nullptr;
  std::int64_t x_stride = 0;
  const std::int32_t* index = nullptr;  // row i of the tile is row index[i] of x; null: row i
  int rows = 0;                         // of the tile that exist
  int k = 0;
  const void* w = nullptr;  // of the tile's first column on
  std::int64_t w_stride = 0;
  const float* scales = nullptr;  // FP8: [column][block]
  int blocks = 0;
  int cols = 0;  // of the tile that exist

  __device__ const __nv_bfloat16* x_row(int i) const { return x + (index ? index[i] : i) * x_stride; }
};

__device__ inline int range_begin(int blocks, int range) { return blocks * range / kRanges; }

// Four e4m3 codes as two pairs of bfloat16.
__device__ inline void widen(std::uint32_t codes, std::uint32_t& low, std::uint32_t& high) {
  const auto pair = [](std::uint32_t two) {  // 00bb00aa
    const std::uint32_t bits = (two & 0x00800080u) << 8 | (two & 0x007f007fu) << 4;
    const __nv_bfloat162 factor = __halves2bfloat162(__ushort_as_bfloat16(0x7b80), __ushort_as_bfloat16(0x7b80));
    const __nv_bfloat162 value = __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&bits), factor);
    return *reinterpret_cast<const std::uint32_t*>(&value);
  };
  low = pair(__byte_perm(codes, 0, 0x4140));
  high = pair(__byte_perm(codes, 0, 0x4342));
}

// Eight weights as they lie in memory, and as bfloat16.
template <bool kF8>
using Eight = std::conditional_t<kF8, uint2, uint4>;

__device__ inline uint4 widen_8(const uint4& values) { return values; }
__device__ inline uint4 widen_8(const uint2& codes) {
  uint4 values;
  widen(codes.x, values.x, values.y);
  widen(codes.y, values.z, values.w);
  return values;
}

// One step of 32 inputs: a0 and a1 hold 8 inputs of rows g and g + 8.
__device__ inline void multiply_32(float (&c)[4], const uint4& a0, const uint4& a1, const uint4& b) {
  ptx::mma_bf16(c, a0.x, a1.x, a0.y, a1.y, b.x, b.y);
  ptx::mma_bf16(c, a0.z, a1.z, a0.w, a1.w, b.z, b.w);
}

// 16 rows by 8 * kN columns, kRanges warps with one range each, operands straight from global
// memory; bound by the weights' bytes. `sums` is [kRanges][16][8 * kN] in shared memory. After it
// emit(row, column, value) is called once for each element, neighbouring threads on neighbouring columns;
// with kPairs emit(row, i, gate, up) for columns that alternate eight of one and eight of the other.
template <bool kF8, int kN>
__device__ inline void small_sums(const Tile& t, float* sums) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
  const int all = (t.k + kBlockK - 1) / kBlockK;
  constexpr int kSteps = kBlockK / 32;
  const __nv_bfloat16* row0 = g < t.rows ? t.x_row(g) : nullptr;
  const __nv_bfloat16* row1 = g + 8 < t.rows ? t.x_row(g + 8) : nullptr;
  float range[kN][4] = {};
  for (int block = range_begin(all, warp); block < range_begin(all, warp + 1); ++block) {
    // All loads of a block are under way before the first is used.
    Eight<kF8> b[kSteps][kN];
    uint4 a[kSteps][2];
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const int k = block * kBlockK + step * 32 + 8 * q;
#pragma unroll
      for (int n = 0; n < kN; ++n) {
        const auto* w = static_cast<const char*>(t.w) + ((n * 8 + g) * t.w_stride + k) * (kF8 ? 1 : 2);
        b[step][n] = k < t.k && n * 8 + g < t.cols ? __ldg(reinterpret_cast<const Eight<kF8>*>(w)) : Eight<kF8>{};
      }
      a[step][0] = k < t.k && row0 ? __ldg(reinterpret_cast<const uint4*>(row0 + k)) : uint4{};
      a[step][1] = k < t.k && row1 ? __ldg(reinterpret_cast<const uint4*>(row1 + k)) : uint4{};
    }
    float sum[kN][4] = {};
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int n = 0; n < kN; ++n) multiply_32(kF8 ? sum[n] : range[n], a[step][0], a[step][1], widen_8(b[step][n]));
    }
    if constexpr (kF8) {
#pragma unroll
      for (int n = 0; n < kN; ++n) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const int column = n * 8 + 2 * q + c % 2;
          const float scale = column < t.cols ? t.scales[static_cast<std::int64_t>(column) * t.blocks + block] : 0.0f;
          range[n][c] = __fadd_rn(range[n][c], __fmul_rn(sum[n][c], scale));
        }
      }
    }
  }
  float* mine = sums + warp * kSmallRows * 8 * kN;
#pragma unroll
  for (int n = 0; n < kN; ++n) {
#pragma unroll
    for (int c = 0; c < 4; ++c) mine[(g + c / 2 * 8) * 8 * kN + n * 8 + 2 * q + c % 2] = range[n][c];
  }
  __syncthreads();
}

template <int kN>
__device__ inline float small_sum(const float* sums, int row, int column) {
  float total = 0;
#pragma unroll
  for (int r = 0; r < kRanges; ++r) total += sums[(r * kSmallRows + row) * 8 * kN + column];
  return total;
}

// kLargeRows by 128 columns, eight warps, two by four, of half the rows by 32 columns each; 64 inputs a
// stage, three stages in flight. Shared memory: x [3][kLargeRows][64] bfloat16, w [3][128][64]. 16-byte
// pieces of odd rows trade halves (FP8: 8-byte pieces of every second pair of rows), so that a warp's
// loads meet each bank once.
inline constexpr int kStages = 3;
inline constexpr int kStageK = 64;
template <bool kF8>
inline constexpr int kLargeShared = kStages * kStageK * (kLargeRows<kF8> * 2 + kLargeCols * (kF8 ? 1 : 2));

// A warp's sums: [i][j][c] is tile i of 16 rows, j of 8 columns, element c of the fragment.
template <bool kF8>
struct LargeSums {
  float at[kLargeTilesM<kF8>][4][4];

  __device__ void clear() {
#pragma unroll
    for (int i = 0; i < kLargeTilesM<kF8> * 16; ++i) at[i / 16][i / 4 % 4][i % 4] = 0;
  }
};

// Where a thread's element lies in the tile.
template <bool kF8>
__device__ inline int large_row(int i, int c) {
  return threadIdx.x / 128 * (kLargeRows<kF8> / 2) + i * 16 + threadIdx.x % 32 / 4 + c / 2 * 8;
}
__device__ inline int large_column(int j, int c) {
  return threadIdx.x / 32 % 4 * 32 + j * 8 + threadIdx.x % 4 * 2 + c % 2;
}

template <bool kF8>
struct LargePipe {
  static constexpr int kRowsEach = kLargeThreads / 8;  // rows that the threads fill at once
  const Tile& t;
  char* x;
  char* w;
  const __nv_bfloat16* from[kLargeRows<kF8> / kRowsEach];  // this thread's rows of x; null: zeros

  __device__ LargePipe(const Tile& tile, char* shared)
      : t(tile), x(shared), w(shared + kStages * kStageK * kLargeRows<kF8> * 2) {
#pragma unroll
    for (int i = 0; i < kLargeRows<kF8> / kRowsEach; ++i) {
      const int row = threadIdx.x / 8 + i * kRowsEach;
      from[i] = row < t.rows ? t.x_row(row) : nullptr;
    }
  }

  __device__ static int x_at(int row, int piece) { return row * 128 + (piece ^ (row % 2 * 4)) * 16; }
  __device__ static int w_at(int row, int piece) {
    if constexpr (!kF8) return x_at(row, piece);
    return row * 64 + (piece ^ (row / 2 % 2 * 4)) * 8;
  }

  __device__ void load(int stage, int k0) {
    const int first = threadIdx.x / 8, piece = threadIdx.x % 8, k = k0 + piece * 8;
    char* xs = x + stage * kLargeRows<kF8> * 128;
#pragma unroll
    for (int i = 0; i < kLargeRows<kF8> / kRowsEach; ++i) {
      const bool inside = from[i] && k < t.k;
      ptx::copy_16(xs + x_at(first + i * kRowsEach, piece), inside ? from[i] + k : t.x, inside ? 16 : 0);
    }
    char* ws = w + stage * kLargeCols * (kF8 ? 64 : 128);
#pragma unroll
    for (int i = 0; i < kLargeCols / kRowsEach; ++i) {
      const int row = first + i * kRowsEach;
      const bool inside = row < t.cols && k < t.k;
      const char* at = static_cast<const char*>(t.w) + (inside ? (row * t.w_stride + k) * (kF8 ? 1 : 2) : 0);
      if constexpr (kF8) ptx::copy_8(ws + w_at(row, piece), at, inside ? 8 : 0);
      else ptx::copy_16(ws + w_at(row, piece), at, inside ? 16 : 0);
    }
  }

  __device__ void multiply(int stage, LargeSums<kF8>& sum) const {
    const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    const int m0 = threadIdx.x / 128 * (kLargeRows<kF8> / 2), n0 = threadIdx.x / 32 % 4 * 32;
    const char* xs = x + stage * kLargeRows<kF8> * 128;
    const char* ws = w + stage * kLargeCols * (kF8 ? 64 : 128);
#pragma unroll
    for (int step = 0; step < kStageK / 32; ++step) {
      uint4 a[kLargeTilesM<kF8>][2];
#pragma unroll
      for (int i = 0; i < 2 * kLargeTilesM<kF8>; ++i) {
        a[i / 2][i % 2] = *reinterpret_cast<const uint4*>(xs + x_at(m0 + i * 8 + g, step * 4 + q));
      }
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const uint4 b = widen_8(*reinterpret_cast<const Eight<kF8>*>(ws + w_at(n0 + j * 8 + g, step * 4 + q)));
#pragma unroll
        for (int i = 0; i < kLargeTilesM<kF8>; ++i) multiply_32(sum.at[i][j], a[i][0], a[i][1], b);
      }
    }
  }
};

// A block's sums times their scales, into the range's.
template <bool kF8>
__device__ inline void add_block(const Tile& t, int block, LargeSums<kF8>& sum, LargeSums<kF8>& range) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      const int column = large_column(j, c);
      const float scale = column < t.cols ? t.scales[static_cast<std::int64_t>(column) * t.blocks + block] : 0.0f;
#pragma unroll
      for (int i = 0; i < 2 * kLargeTilesM<kF8>; ++i) {
        float& into = range.at[i / 2][j][i % 2 * 2 + c];
        into = __fadd_rn(into, __fmul_rn(sum.at[i / 2][j][i % 2 * 2 + c], scale));
      }
    }
  }
  sum.clear();
}

// The last range that ends before block `block` + 1 has just ended.
__device__ inline bool ends_range(int blocks, int block) {
  for (int range = 0; range < kRanges; ++range) {
    if (range_begin(blocks, range + 1) == block + 1) return true;
  }
  return false;
}

template <bool kF8>
__device__ inline void large_sums(const Tile& t, char* shared, LargeSums<kF8>& total) {
  LargePipe<kF8> pipe(t, shared);
  const int blocks = (t.k + kBlockK - 1) / kBlockK, steps = blocks * (kBlockK / kStageK);
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < steps) pipe.load(s, s * kStageK);
    ptx::commit_copies();
  }
  LargeSums<kF8> sum, range;
  sum.clear();
  range.clear();
  total.clear();
  for (int step = 0; step < steps; ++step) {
    ptx::wait_copies<kStages - 2>();
    __syncthreads();
    const int ahead = step + kStages - 1;
    if (ahead < steps) pipe.load(ahead % kStages, ahead * kStageK);
    ptx::commit_copies();
    pipe.multiply(step % kStages, sum);
    if (step % 2 == 0) continue;
    if constexpr (kF8) add_block<kF8>(t, step / 2, sum, range);
    if (!ends_range(blocks, step / 2)) continue;
    LargeSums<kF8>& ended = kF8 ? range : sum;
#pragma unroll
    for (int i = 0; i < kLargeTilesM<kF8> * 16; ++i) total.at[i / 16][i / 4 % 4][i % 4] += ended.at[i / 16][i / 4 % 4][i % 4];
    ended.clear();
  }
  ptx::wait_copies<0>();
  __syncthreads();
}

}  // namespace braid::cuda
