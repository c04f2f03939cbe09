// SPDX-License-Identifier: Apache-2.0
// Tiles of 64 keys or values in shared memory, and products with them, for the attention kernels on
// tensor cores. A tile is [64][width] bfloat16, width a multiple of 64, in 16-byte pieces; keys trade
// halves in odd rows and values are turned by their row, so that neither way of reading them meets a
// bank twice.
#pragma once

#include "backend/cuda/attention/rows.cuh"
#include "backend/cuda/ptx/async_copy.cuh"
#include "backend/cuda/ptx/ldmatrix.cuh"
#include "backend/cuda/ptx/mma.cuh"

namespace braid::cuda {

inline constexpr int kTileKeys = 64;

__host__ __device__ inline int tile_width(int dim) { return (dim + 63) / 64 * 64; }
__host__ __device__ inline int tile_bytes(int dim) { return kTileKeys * tile_width(dim) * 2; }

__device__ inline int key_at(int row, int piece, int width) { return row * width * 2 + (piece ^ (row % 2 * 4)) * 16; }
__device__ inline int value_at(int row, int piece, int width) { return row * width * 2 + (piece ^ (row % 8)) * 16; }

// Starts the copies of rows [0, count) of a tile, zeros behind them and behind `dim` elements.
// row_of(r) gives the address of row r's first element; dim is a multiple of 8.
template <bool kValues, class RowOf>
__device__ inline void load_tile(char* tile, int dim, int count, const RowOf& row_at) {
  const int width = tile_width(dim), pieces = width / 8, each = blockDim.x / kTileKeys;
  const int row = threadIdx.x / each;
  const char* from = row < count ? static_cast<const char*>(row_at(row)) : nullptr;
  for (int piece = threadIdx.x % each; piece < pieces; piece += each) {
    const bool inside = from && piece * 8 < dim;
    char* to = tile + (kValues ? value_at(row, piece, width) : key_at(row, piece, width));
    ptx::copy_16(to, inside ? from + piece * 16 : tile, inside ? 16 : 0);
  }
}

// o[n] [16 rows, 8 columns] += p [16, 16 keys from `key` on] * values, for the column tiles of [column, end),
// kColumns at most. p is the A fragment.
template <int kColumns>
__device__ inline void add_values(float (*o)[4], const std::uint32_t (&p)[4], const char* tile, int key, int column, int end, int width) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < kColumns / 8; n += 2) {
    if (column + n * 8 >= end) break;
    const int row = key + lane % 16, piece = (column + n * 8) / 8 + lane / 16;
    std::uint32_t b[4];
    ptx::load_matrices_transposed(b, tile + value_at(row, piece, width));
    ptx::mma_bf16(o[n], p[0], p[1], p[2], p[3], b[0], b[1]);
    ptx::mma_bf16(o[n + 1], p[0], p[1], p[2], p[3], b[2], b[3]);
  }
}

}  // namespace braid::cuda
