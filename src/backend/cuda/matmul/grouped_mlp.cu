// SPDX-License-Identifier: Apache-2.0
// grouped_mlp on BF16 tensor cores, weights in bfloat16 or FP8: two launches, gate and up with
// their activation behind them, then down. Rows of gate and up alternate by eight in the weight, so
// that both halves of a product end in the same thread (large tiles) or side by side (small ones).
//
// Tiles, memory map and warp roles are those of matmul/tile.cuh; a block finds its group from the
// offsets on the device, and there are as many blocks as the worst spread of the rows needs. Bound:
// the touched weights' bytes for few rows a group, the tensor cores' mma.sync rate for many.
#include "backend/cuda/matmul/choose.h"
#include "backend/cuda/matmul/groups.cuh"
#include "backend/cuda/matmul/pack.h"
#include "backend/cuda/matmul/tile.cuh"
#include "backend/cuda/rows/element.cuh"

namespace braid::cuda {
namespace {

struct Task {
  const __nv_bfloat16* x;
  std::int64_t x_stride;
  const std::int32_t* row_token;  // null: rows as they are
  const std::int32_t* offsets;
  int groups, hidden;
  ops::Glu glu;
  bool gate_up;
  void* y;  // gate_up: bfloat16 activations; else float32 rows
  std::int64_t y_stride;

  __device__ int columns(int inter) const { return gate_up ? (inter + 7) / 8 * 16 : hidden; }
  __device__ Tile tile(const GroupTile& g, const GroupWeights& weights, int first_column, bool f8) const {
    const int inter = weights.inter[g.group], k = gate_up ? hidden : (inter + 7) / 8 * 8;
    const std::int64_t stride = (k + 63) / 64 * 64;
    const int blocks = (k + kBlockK - 1) / kBlockK;
    return {row_token ? x : x + g.first * x_stride, x_stride, row_token ? row_token + g.first : nullptr, g.rows, k,
            static_cast<const char*>(weights.values[g.group]) + first_column * stride * (f8 ? 1 : 2), stride,
            weights.scales[g.group] + static_cast<std::int64_t>(first_column) * blocks, blocks,
            columns(inter) - first_column};
  }
  __device__ void put_act(const GroupWeights& weights, const GroupTile& g, int row, int i, float gate, float up) const {
    const float value = activation(glu, weights.bias[g.group], weights.inter[g.group], i, gate, up);
    static_cast<__nv_bfloat16*>(y)[(g.first + row) * y_stride + i] = __float2bfloat16_rn(value);
  }
  __device__ void put(const GroupWeights& weights, const GroupTile& g, int row, int column, float value) const {
    const float* const bias = weights.bias[g.group];
    static_cast<float*>(y)[(g.first + row) * y_stride + column] = bias ? value + bias[column] : value;
  }
};

template <bool kF8>
__global__ void __launch_bounds__(kSmallThreads)
    small_kernel(const __grid_constant__ Task task, const __grid_constant__ GroupWeights weights) {
  constexpr int kN = 4, kCols = 8 * kN;
  __shared__ float sums[kRanges * kSmallRows * kCols];
  const GroupTile g = find_tile(task.offsets, task.groups, kSmallRows, static_cast<int>(blockIdx.y));
  const int first = blockIdx.x * kCols;
  if (g.group < 0 || first >= task.columns(weights.inter[g.group])) return;
  const Tile tile = task.tile(g, weights, first, kF8);
  small_sums<kF8, kN>(tile, sums);
  for (int i = threadIdx.x; i < kSmallRows * kCols; i += kSmallThreads) {
    const int row = i / kCols, column = i % kCols;
    if (row >= tile.rows || column >= tile.cols || (task.gate_up && column % 16 >= 8)) continue;
    const float value = small_sum<kN>(sums, row, column);
    if (!task.gate_up) task.put(weights, g, row, first + column, value);
    else task.put_act(weights, g, row, (first + column) / 16 * 8 + column % 8, value, small_sum<kN>(sums, row, column + 8));
  }
}

template <bool kF8>
__global__ void __launch_bounds__(kLargeThreads)
    large_kernel(const __grid_constant__ Task task, const __grid_constant__ GroupWeights weights) {
  extern __shared__ __align__(128) char shared[];
  const GroupTile g = find_tile(task.offsets, task.groups, kLargeRows<kF8>, static_cast<int>(blockIdx.y));
  const int first = blockIdx.x * kLargeCols;
  if (g.group < 0 || first >= task.columns(weights.inter[g.group])) return;
  const Tile tile = task.tile(g, weights, first, kF8);
  LargeSums<kF8> total;
  large_sums<kF8>(tile, shared, total);
#pragma unroll
  for (int i = 0; i < kLargeTilesM<kF8> * 16; ++i) {
    const int j = i / 4 % 4, c = i % 4, row = large_row<kF8>(i / 16, c), column = large_column(j, c);
    if (row >= tile.rows || column >= tile.cols || (task.gate_up && j % 2 == 1)) continue;
    const float value = total.at[i / 16][j][c];
    if (!task.gate_up) task.put(weights, g, row, first + column, value);
    else task.put_act(weights, g, row, (first + column) / 16 * 8 + column % 8, value, total.at[i / 16][j | 1][c]);
  }
}

template <bool kF8>
void run_format(const Task& task, const GroupWeights& weights, std::int64_t rows, std::int64_t columns, Stream& s) {
  const TileConfig config =
      choose_tile({.rows = rows, .groups = task.groups, .columns = columns, .large_rows = kLargeRows<kF8>, .processors = s.workers()});
  const auto grid = [&](int cols) { return dim3(blocks_for(columns, cols), static_cast<unsigned>(config.row_tiles)); };
  if (config.large) launch(s, "grouped_mlp", large_kernel<kF8>, grid(kLargeCols), kLargeThreads, kLargeShared<kF8>, task, weights);
  else launch(s, "grouped_mlp", small_kernel<kF8>, grid(32), kSmallThreads, 0, task, weights);
}

void run_phase(const Task& task, const GroupWeights& weights, ops::WeightFormat format, std::int64_t rows,
               std::int64_t columns, Stream& s) {
  if (format == ops::WeightFormat::kF8) run_format<true>(task, weights, rows, columns, s);
  else run_format<false>(task, weights, rows, columns, s);
}

}  // namespace

GroupCall::GroupCall(const ops::GroupedMlp::Args& a) : groups(static_cast<std::int64_t>(a.groups.size())) {
  for (std::size_t g = 0; g < a.groups.size(); ++g) {
    if (!a.groups[g] || a.groups[g]->hidden == 0) continue;  // an empty slot, which has no rows
    const ops::PackedMlp& mlp = *a.groups[g];
    gate_up.values[g] = mlp.gate_up.data.data();
    gate_up.scales[g] = mlp.gate_up.scales.as<float>();
    down.values[g] = mlp.down.data.data();
    down.scales[g] = mlp.down.scales.as<float>();
    gate_up.inter[g] = down.inter[g] = static_cast<std::int32_t>(mlp.inter);
    inter = std::max(inter, mlp.inter);
    hidden = mlp.hidden;
    gate_up_format = mlp.gate_up.format;
    down_format = mlp.down.format;
    glu = mlp.glu;
    if (mlp.bias.data() == nullptr) continue;
    gate_up.bias[g] = mlp.bias.as<float>();
    down.bias[g] = gate_up.bias[g] + 2 * mlp.inter;
  }
}

void grouped_mlp_mma(const ops::GroupedMlp::Args& a, braid::Stream& s) {
  const GroupCall call(a);
  Task task{static_cast<const __nv_bfloat16*>(a.x.data), a.x.stride, a.row_token, a.offsets,
            static_cast<int>(call.groups), static_cast<int>(call.hidden), call.glu, true, a.scratch, call.act_stride()};
  run_phase(task, call.gate_up, call.gate_up_format, a.out.rows, (call.inter + 7) / 8 * 16, stream(s));
  task.x = reinterpret_cast<const __nv_bfloat16*>(a.scratch);
  task.x_stride = call.act_stride();
  task.row_token = nullptr;
  task.gate_up = false;
  task.y = a.out.data;
  task.y_stride = a.out.stride;
  run_phase(task, call.down, call.down_format, a.out.rows, call.hidden, stream(s));
}

}  // namespace braid::cuda
