// SPDX-License-Identifier: Apache-2.0
// linear on BF16 tensor cores: y = x * w^T, weights in bfloat16 or FP8.
//
// Tiles, memory map and warp roles are those of matmul/tile.cuh; a block computes one tile of one
// batch entry, x in blockIdx.y, columns in blockIdx.x. Bound: the weights' bytes for few rows (small
// tiles), the tensor cores' mma.sync rate for many (large tiles).
#include "backend/cuda/matmul/choose.h"
#include "backend/cuda/matmul/matmul.h"
#include "backend/cuda/matmul/pack.h"
#include "backend/cuda/matmul/tile.cuh"
#include "backend/cuda/rows/element.cuh"

namespace braid::cuda {
namespace {

struct Task {
  const __nv_bfloat16* x;
  std::int64_t x_stride, x_batch;
  const char* w;
  std::int64_t w_stride, w_batch;
  const float* scales;
  int blocks, rows, n, k;
  void* y;
  DType y_dtype;
  std::int64_t y_stride, y_batch;
  bool accumulate;

  __device__ Tile tile(int tile_rows, int tile_cols, bool f8) const {
    const std::int64_t row = blockIdx.y * tile_rows, column = blockIdx.x * tile_cols, b = blockIdx.z;
    const char* from = w + (b * w_batch + column * w_stride) * (f8 ? 1 : 2);
    return {x + b * x_batch + row * x_stride, x_stride, nullptr, static_cast<int>(rows - row), k, from, w_stride,
            scales + (b * n + column) * blocks, blocks, static_cast<int>(n - column)};
  }
  __device__ void put(std::int64_t row, std::int64_t column, float value) const {
    if (row >= rows || column >= n) return;
    const std::int64_t at = blockIdx.z * y_batch + row * y_stride + column;
    store(y, y_dtype, at, accumulate ? value + load(y, y_dtype, at) : value);
  }
};

template <bool kF8, int kN>
__global__ void __launch_bounds__(kSmallThreads) small_kernel(const __grid_constant__ Task task) {
  __shared__ float sums[kRanges * kSmallRows * 8 * kN];
  small_sums<kF8, kN>(task.tile(kSmallRows, 8 * kN, kF8), sums);
  for (int i = threadIdx.x; i < kSmallRows * 8 * kN; i += kSmallThreads) {
    const int row = i / (8 * kN), column = i % (8 * kN);
    task.put(blockIdx.y * kSmallRows + row, blockIdx.x * 8 * kN + column, small_sum<kN>(sums, row, column));
  }
}

template <bool kF8>
__global__ void __launch_bounds__(kLargeThreads) large_kernel(const __grid_constant__ Task task) {
  extern __shared__ __align__(128) char shared[];
  LargeSums<kF8> total;
  large_sums<kF8>(task.tile(kLargeRows<kF8>, kLargeCols, kF8), shared, total);
#pragma unroll
  for (int i = 0; i < kLargeTilesM<kF8> * 16; ++i) {
    const int c = i % 4;
    task.put(blockIdx.y * kLargeRows<kF8> + large_row<kF8>(i / 16, c), blockIdx.x * kLargeCols + large_column(i / 4 % 4, c),
             total.at[i / 16][i / 4 % 4][c]);
  }
}

template <bool kF8>
void run(const Task& task, std::int64_t batch, Stream& s) {
  const TileConfig config =
      choose_tile({.rows = task.rows, .columns = task.n, .batch = batch, .large_rows = kLargeRows<kF8>, .processors = s.workers()});
  const auto grid = [&](int cols) {
    return dim3(blocks_for(task.n, cols), static_cast<unsigned>(config.row_tiles), static_cast<unsigned>(batch));
  };
  if (config.large) launch(s, "linear", large_kernel<kF8>, grid(kLargeCols), kLargeThreads, kLargeShared<kF8>, task);
  else if (config.small_columns == 32) launch(s, "linear", small_kernel<kF8, 4>, grid(32), kSmallThreads, 0, task);
  else launch(s, "linear", small_kernel<kF8, 1>, grid(8), kSmallThreads, 0, task);
}

}  // namespace

void linear_mma(const ops::Linear::Args& a, braid::Stream& s) {
  const ops::PackedWeight& w = *a.weight;
  constexpr std::int64_t kUnit = 8;  // bfloat16 in 16 bytes
  if (a.x.stride % kUnit != 0 || a.x_batch_stride % kUnit != 0 || reinterpret_cast<std::uintptr_t>(a.x.data) % 16 != 0) {
    return linear_simple(a, s);
  }
  const Task task{static_cast<const __nv_bfloat16*>(a.x.data), a.x.stride, a.x_batch_stride,
                  reinterpret_cast<const char*>(w.data.data()), row_stride(w.k), w.n * row_stride(w.k),
                  w.scales.as<float>(), static_cast<int>(scale_blocks(w.k)), static_cast<int>(a.x.rows),
                  static_cast<int>(w.n), static_cast<int>(w.k), a.y.data, a.y.dtype, a.y.stride, a.y_batch_stride,
                  a.accumulate};
  if (w.format == ops::WeightFormat::kF8) run<true>(task, w.batch, stream(s));
  else run<false>(task, w.batch, stream(s));
}

}  // namespace braid::cuda
