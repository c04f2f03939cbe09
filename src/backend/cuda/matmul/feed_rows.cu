// SPDX-License-Identifier: Apache-2.0
// What stands before each of Hopper's GEMMs: rows are gathered, or gate and up become activations; and
// for FP8 both are rounded to e4m3 with scales.
//
// Memory: 16 bytes of bfloat16 a thread and load; every element is read and written once. Warps: 16
// threads take 128 columns of a row, and find their largest value by shuffles. Bound: memory, and
// launch time at decode.
#include <algorithm>

#include "backend/cuda/matmul/feed_rows.h"
#include "backend/cuda/matmul/feed_values.cuh"
#include "backend/cuda/matmul/groups.cuh"
#include "backend/cuda/rows/element.cuh"

namespace braid::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kBlock = kFeedColumns, kEach = kFeedEach, kTeam = kFeedTeam;

struct Target {
  void* values;
  float* scales;
  std::int64_t stride, scale_rows;  // elements from row to row, and from block to block
  std::int64_t rows;
  int columns;
  unsigned blocks;
};

struct Place {
  std::int64_t row;
  int column, block;
};

// What this thread writes; row -1: nothing.
__device__ inline Place place_of(const Target& t) {
  const unsigned team = blockIdx.x * (kThreads / kTeam) + threadIdx.x / kTeam, row = team / t.blocks;
  const int block = static_cast<int>(team % t.blocks);
  return {row < t.rows ? static_cast<std::int64_t>(row) : -1, block * kBlock + static_cast<int>(threadIdx.x) % kTeam * kEach, block};
}

__device__ inline void load_8(const __nv_bfloat16* from, float (&x)[kEach]) {
  uint4 packed;
  if (reinterpret_cast<std::uintptr_t>(from) % 16 == 0) {
    packed = *reinterpret_cast<const uint4*>(from);
  } else {
    auto* to = reinterpret_cast<__nv_bfloat16*>(&packed);
    for (int i = 0; i < kEach; ++i) to[i] = from[i];
  }
  unpack_8(packed, x);
}

template <bool kF8>
__device__ inline void put_8(const Target& t, const Place& at, const float (&x)[kEach]) {
  if constexpr (!kF8) {
    if (at.row < 0 || at.column >= t.columns) return;
    *reinterpret_cast<uint4*>(static_cast<__nv_bfloat16*>(t.values) + at.row * t.stride + at.column) = to_bf16_8(x);
  } else {
    const float most = largest_of_team(x);
    if (at.row < 0) return;
    if (threadIdx.x % kTeam == 0) t.scales[at.block * t.scale_rows + at.row] = most / kLargestE4m3;
    if (at.column >= t.columns) return;
    *reinterpret_cast<uint2*>(static_cast<std::uint8_t*>(t.values) + at.row * t.stride + at.column) = to_e4m3_8(x, most);
  }
}

template <bool kF8>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(const __nv_bfloat16* x, std::int64_t x_stride, int inputs, const std::int32_t* row_token,
                  const __grid_constant__ Target t) {
  const Place at = place_of(t);
  float values[kEach] = {};
  if (at.row >= 0 && at.column < inputs) {
    const std::int64_t from = row_token ? row_token[at.row] : at.row;
    load_8(x + from * x_stride + at.column, values);
  }
  put_8<kF8>(t, at, values);
}

struct Gates {
  const __nv_bfloat16* gate_up;
  std::int64_t stride;
  const std::int32_t* offsets;
  int groups;
  int least;  // inter of the group that has the smallest
  bool biased;
  ops::Glu glu;
  std::int32_t inter[kMostGemmGroups];
  const float* bias[kMostGemmGroups];
};

__device__ inline int group_of(const Gates& g, std::int64_t row) {
  int low = 0, high = g.groups;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (g.offsets[middle] <= row ? low : high) = middle;
  }
  return low;
}

template <bool kF8>
__global__ void __launch_bounds__(kThreads) activate_kernel(const __grid_constant__ Gates g, const __grid_constant__ Target t) {
  Place at = place_of(t);
  int group = 0;
  if (at.row >= 0 && (g.biased || at.column >= g.least)) {
    group = group_of(g, at.row);
    if (at.column >= (g.inter[group] + kGateUnit - 1) / kGateUnit * kGateUnit) at.row = -1;
  }
  float values[kEach] = {};
  if (at.row >= 0) {
    const __nv_bfloat16* from = g.gate_up + at.row * g.stride + at.column / kGateTurn * (2 * kGateTurn) + at.column % kGateTurn;
    float up[kEach];
    load_8(from, values);
    load_8(from + kGateTurn, up);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      values[i] = activation(g.glu, g.biased ? g.bias[group] : nullptr, g.inter[group], at.column + i, values[i], up[i]);
    }
  }
  put_8<kF8>(t, at, values);
}

Target target(const FedRows& to, std::byte* at) {
  return {at, reinterpret_cast<float*>(at + to.scales_at()), to.stride, scale_stride(to.rows), to.rows,
          static_cast<int>(to.columns), static_cast<unsigned>((to.columns + kBlock - 1) / kBlock)};
}

template <class... Parameters, class... Args>
void run(const Target& t, Stream& s, void (*kernel)(Parameters...), const Args&... args) {
  launch(s, "rows for a GEMM", kernel, dim3(blocks_for(t.rows * t.blocks * kTeam, kThreads)), kThreads, 0, args..., t);
}

}  // namespace

FedRows::FedRows(Precision p, std::int64_t r, std::int64_t c) : precision(p), rows(r), columns((c + 15) / 16 * 16), stride(columns) {}

void gather_rows(const Activations& x, const std::int32_t* row_token, const FedRows& to, std::byte* at, Stream& s) {
  const Target t = target(to, at);
  const auto kernel = to.precision == Precision::kFp8 ? gather_kernel<true> : gather_kernel<false>;
  run(t, s, kernel, static_cast<const __nv_bfloat16*>(x.data), x.stride, static_cast<int>(x.cols), row_token);
}

void activate_rows(const GatedRows& from, const FedRows& to, std::byte* at, Stream& s) {
  Gates g{static_cast<const __nv_bfloat16*>(from.gate_up), from.stride, from.offsets, static_cast<int>(from.down.size()),
          static_cast<int>(to.columns), false, from.glu, {}, {}};
  for (std::size_t i = 0; i < from.down.size(); ++i) {
    g.inter[i] = from.down[i].k;
    g.bias[i] = from.bias[i];
    g.biased = g.biased || from.bias[i];
    if (from.down[i].n > 0) g.least = std::min(g.least, from.down[i].k);
  }
  run(target(to, at), s, to.precision == Precision::kFp8 ? activate_kernel<true> : activate_kernel<false>, g);
}

}  // namespace braid::cuda
