// SPDX-License-Identifier: Apache-2.0
// linear and grouped_mlp in float32 arithmetic, for any shape, stride and format: the router, float32
// models, and shapes whose rows are not a multiple of 16 bytes.
//
// Memory: a weight row passes through a warp once for eight rows of x, which come from the caches.
// Warps: one output column and eight rows each; lanes stride over the inputs, and their sums are
// added in a fixed order. Bound: float32 arithmetic and the caches.
#include "backend/cuda/matmul/groups.cuh"
#include "backend/cuda/matmul/pack.h"
#include "backend/cuda/rows/element.cuh"

namespace braid::cuda {
namespace {

constexpr int kRows = 8;
constexpr int kWarps = 8;
constexpr std::int64_t kFewRows = 512;  // up to here blocks of many columns would leave processors idle
constexpr std::int64_t kFewBlocks = 256;  // up to here blocks of more than two columns would

using ops::WeightFormat;

struct WeightRow {
  const void* values;
  const float* scales;
  WeightFormat format;

  __device__ float at(int k) const {
    if (format == WeightFormat::kF32) return static_cast<const float*>(values)[k];
    if (format == WeightFormat::kBF16) return __bfloat162float(static_cast<const __nv_bfloat16*>(values)[k]);
    const unsigned code = static_cast<const unsigned char*>(values)[k];
    const auto bits = static_cast<unsigned short>((code & 0x80u) << 8 | (code & 0x7fu) << 4);
    return __bfloat162float(__ushort_as_bfloat16(bits)) * 0x1p120f * scales[k / 128];
  }
};

struct Matrix8 {  // of the weight of one group or batch entry
  const char* values;
  const float* scales;
  WeightFormat format;
  std::int64_t stride;
  int blocks;

  __device__ WeightRow row(std::int64_t n) const {
    const int bytes = format == WeightFormat::kF32 ? 4 : format == WeightFormat::kBF16 ? 2 : 1;
    return {values + n * stride * bytes, scales + n * blocks, format};
  }
};

// sums[r] = w . row r of x, for up to eight rows; in every lane. row(r) gives the address.
template <class Row>
__device__ inline void dots(const WeightRow& w, int k, DType dtype, int rows, const Row& row, float (&sums)[kRows]) {
  for (float& sum : sums) sum = 0;
  for (int i = threadIdx.x % 32; i < k; i += 32) {
    const float weight = w.at(i);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r < rows) sums[r] += weight * load(row(r), dtype, i);
    }
  }
  for (float& sum : sums) sum = warp_sum(sum);
}

// The same for kCols rows of a float32 weight and float32 x, four inputs at a time, for inputs
// [first, end): what this lane has of the sums.
template <int kCols>
__device__ inline void dots_4(const float* w, std::int64_t w_stride, int cols, int first, int end, const float* x,
                              std::int64_t x_stride, int rows, float (&sums)[kCols][kRows]) {
#pragma unroll
  for (int c = 0; c < kCols; ++c) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) sums[c][r] = 0;
  }
  constexpr int kUnrolled = kCols <= 2 ? 2 : 1;  // registers for two blocks a multiprocessor
#pragma unroll kUnrolled
  for (int i = first + threadIdx.x % 32 * 4; i < end; i += 128) {
    float4 a[kRows], b[kCols];
#pragma unroll
    for (int c = 0; c < kCols; ++c) b[c] = c < cols ? *reinterpret_cast<const float4*>(w + c * w_stride + i) : float4{};
#pragma unroll
    for (int r = 0; r < kRows; ++r) a[r] = r < rows ? *reinterpret_cast<const float4*>(x + r * x_stride + i) : float4{};
#pragma unroll
    for (int c = 0; c < kCols; ++c) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        float& sum = sums[c][r];
        sum = fmaf(a[r].x, b[c].x, sum), sum = fmaf(a[r].y, b[c].y, sum);
        sum = fmaf(a[r].z, b[c].z, sum), sum = fmaf(a[r].w, b[c].w, sum);
      }
    }
  }
}

struct LinearTask {
  Activations x, y;
  std::int64_t x_batch, y_batch;
  Matrix8 w;
  int n, k;
  bool accumulate;
};

__global__ void linear_kernel(const __grid_constant__ LinearTask t) {
  const int column = blockIdx.x * kWarps + threadIdx.x / 32;
  if (column >= t.n) return;
  const std::int64_t first = blockIdx.y * kRows, b = blockIdx.z;
  const int rows = min(static_cast<int>(t.x.rows - first), kRows), unit = t.x.dtype == DType::kF32 ? 4 : 2;
  const auto row = [&](int r) { return static_cast<const char*>(row_of(t.x, first + r)) + b * t.x_batch * unit; };
  float sums[kRows];
  dots(t.w.row(b * t.n + column), t.k, t.x.dtype, rows, row, sums);
  for (int r = 0; r < rows; ++r) {
    if (threadIdx.x % 32 != r) continue;
    void* to = row_of(t.y, first + r);
    const std::int64_t at = b * t.y_batch + column;
    store(to, t.y.dtype, at, t.accumulate ? sums[r] + load(to, t.y.dtype, at) : sums[r]);
  }
}

// float32 alone, k a multiple of four and 16-byte rows, in two ways that give the same bits: inputs are
// cut into kWarps ranges, a lane adds what it has of them in rising order, then the lanes are added.
struct WideTile {
  const LinearTask& t;
  std::int64_t first, b;
  int column, cols, rows;
  const float* x;
  const float* w;

  __device__ WideTile(const LinearTask& task, int from, int most)
      : t(task), first(blockIdx.y * kRows), b(blockIdx.z), column(from), cols(min(task.n - from, most)),
        rows(min(static_cast<int>(task.x.rows - first), kRows)),
        x(static_cast<const float*>(task.x.data) + b * task.x_batch + first * task.x.stride),
        w(reinterpret_cast<const float*>(task.w.values) + (b * task.n + from) * task.w.stride) {}

  template <int kCols>
  __device__ void range(int number, float (&sums)[kCols][kRows]) const {
    const int blocks = (t.k + 127) / 128;
    dots_4<kCols>(w, t.w.stride, cols, blocks * number / kWarps * 128, min(t.k, blocks * (number + 1) / kWarps * 128), x, t.x.stride,
                  rows, sums);
  }
  __device__ void put(int c, int r, float value) const {
    if (c >= cols || r >= rows) return;
    void* to = row_of(t.y, first + r);
    const std::int64_t at = b * t.y_batch + column + c;
    store(to, t.y.dtype, at, t.accumulate ? value + load(to, t.y.dtype, at) : value);
  }
};

// Many rows: a warp takes four columns and all ranges.
__global__ void __launch_bounds__(32 * kWarps, 2) many_kernel(const __grid_constant__ LinearTask t) {
  constexpr int kCols = 4;
  const int column = (blockIdx.x * kWarps + threadIdx.x / 32) * kCols;
  if (column >= t.n) return;
  const WideTile tile(t, column, kCols);
  float sums[kCols][kRows] = {}, part[kCols][kRows];
  for (int range = 0; range < kWarps; ++range) {
    tile.range<kCols>(range, part);
#pragma unroll
    for (int i = 0; i < kCols * kRows; ++i) sums[i / kRows][i % kRows] += part[i / kRows][i % kRows];
  }
#pragma unroll
  for (int i = 0; i < kCols * kRows; ++i) {
    const float sum = warp_sum(sums[i / kRows][i % kRows]);
    if (threadIdx.x % 32 == i % 32) tile.put(i / kRows, i % kRows, sum);
  }
}

// Few rows: a block takes two columns or four, a warp one range; then a warp adds up one row.
template <int kCols>
__global__ void __launch_bounds__(32 * kWarps) few_kernel(const __grid_constant__ LinearTask t) {
  static_assert(kWarps == kRows);
  __shared__ float parts[kWarps][kCols][kRows][32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const WideTile tile(t, blockIdx.x * kCols, kCols);
  float part[kCols][kRows];
  tile.range<kCols>(warp, part);
#pragma unroll
  for (int i = 0; i < kCols * kRows; ++i) parts[warp][i / kRows][i % kRows][lane] = part[i / kRows][i % kRows];
  __syncthreads();
#pragma unroll
  for (int c = 0; c < kCols; ++c) {
    float sum = 0;
#pragma unroll
    for (int range = 0; range < kWarps; ++range) sum += parts[range][c][warp][lane];
    sum = warp_sum(sum);
    if (lane == 0) tile.put(c, warp, sum);
  }
}

struct GroupTask {
  Activations x, y;
  const std::int32_t* offsets;
  const std::int32_t* row_token;
  int groups, hidden;
  WeightFormat format;
  ops::Glu glu;
  bool gate_up;
};

__global__ void group_kernel(const __grid_constant__ GroupTask t, const __grid_constant__ GroupWeights weights) {
  const GroupTile tile = find_tile(t.offsets, t.groups, kRows, static_cast<int>(blockIdx.y));
  if (tile.group < 0) return;
  const int inter = weights.inter[tile.group], n = t.gate_up ? inter : t.hidden, k = t.gate_up ? t.hidden : inter;
  const int column = blockIdx.x * kWarps + threadIdx.x / 32;
  if (column >= n) return;
  const std::int64_t stride = (k + 63) / 64 * 64;
  const Matrix8 w{static_cast<const char*>(weights.values[tile.group]), weights.scales[tile.group], t.format, stride,
                  (k + 127) / 128};
  const int rows = min(tile.rows, kRows);
  const auto row = [&](int r) -> const void* {
    const int at = tile.first + r;
    return row_of(t.x, t.gate_up && t.row_token ? t.row_token[at] : at);
  };
  const float* const bias = weights.bias[tile.group];
  float sums[kRows], up[kRows];
  dots(w.row(t.gate_up ? column / 8 * 16 + column % 8 : column), k, t.x.dtype, rows, row, sums);
  if (t.gate_up) dots(w.row(column / 8 * 16 + column % 8 + 8), k, t.x.dtype, rows, row, up);
  for (int r = 0; r < rows; ++r) {
    if (threadIdx.x % 32 != r) continue;
    const float value = t.gate_up ? activation(t.glu, bias, inter, column, sums[r], up[r]) : bias ? sums[r] + bias[column] : sums[r];
    store(row_of(t.y, tile.first + r), t.y.dtype, column, value);
  }
}

}  // namespace

void linear_simple(const ops::Linear::Args& a, braid::Stream& s) {
  const ops::PackedWeight& w = *a.weight;
  const Matrix8 matrix{reinterpret_cast<const char*>(w.data.data()), w.scales.as<float>(), w.format, row_stride(w.k),
                       static_cast<int>(scale_blocks(w.k))};
  const LinearTask task{a.x, a.y, a.x_batch_stride, a.y_batch_stride, matrix, static_cast<int>(w.n),
                        static_cast<int>(w.k), a.accumulate};
  const bool wide = w.format == WeightFormat::kF32 && a.x.dtype == DType::kF32 && w.k % 4 == 0 && a.x.stride % 4 == 0 &&
                    a.x_batch_stride % 4 == 0 && reinterpret_cast<std::uintptr_t>(a.x.data) % 16 == 0;
  const auto grid = [&](int columns) { return dim3(blocks_for(w.n, columns), blocks_for(a.x.rows, kRows), static_cast<unsigned>(w.batch)); };
  if (!wide) return launch(stream(s), "linear", linear_kernel, grid(kWarps), 32 * kWarps, 0, task);
  const dim3 narrow = grid(2);
  if (std::int64_t{narrow.x} * narrow.y * narrow.z <= kFewBlocks) launch(stream(s), "linear", few_kernel<2>, narrow, 32 * kWarps, 0, task);
  else if (a.x.rows <= kFewRows) launch(stream(s), "linear", few_kernel<4>, grid(4), 32 * kWarps, 0, task);
  else launch(stream(s), "linear", many_kernel, grid(4 * kWarps), 32 * kWarps, 0, task);
}

void grouped_mlp_simple(const ops::GroupedMlp::Args& a, braid::Stream& s) {
  const GroupCall call(a);
  const std::int64_t tiles = std::min(a.out.rows, call.groups - 1) + blocks_for(a.out.rows, kRows);
  const Activations act{a.scratch, a.x.dtype, a.out.rows, call.inter, call.act_stride()};
  const Activations out{a.out.data, DType::kF32, a.out.rows, a.out.cols, a.out.stride};
  const auto grid = [&](std::int64_t n) { return dim3(blocks_for(n, kWarps), static_cast<unsigned>(tiles)); };
  GroupTask task{a.x, act, a.offsets, a.row_token, static_cast<int>(call.groups), static_cast<int>(call.hidden),
                 call.gate_up_format, call.glu, true};
  launch(stream(s), "grouped_mlp", group_kernel, grid(call.inter), 32 * kWarps, 0, task, call.gate_up);
  task.x = act;
  task.y = out;
  task.gate_up = false;
  task.format = call.down_format;
  launch(stream(s), "grouped_mlp", group_kernel, grid(call.hidden), 32 * kWarps, 0, task, call.down);
}

}  // namespace braid::cuda
