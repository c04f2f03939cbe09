// SPDX-License-Identifier: Apache-2.0
// Weights from a checkpoint's row-major order to the tiles of packed.h, once, when they are loaded.
//
// Idea: a block copies one tile, a thread 16 bytes of a row at a time. Bound: memory.
#include <cstdint>
#include <string>

#include "backend/cuda/gemm/gemm.h"

namespace braid::cuda {
namespace {

struct PackArguments {
  const std::uint8_t* values;
  const float* scales;
  std::uint8_t* weights;
  float* weight_scales;
  PackedShape shape;
  int scale_rows;
};

__global__ void pack_kernel(const PackArguments args) {
  const PackedShape shape = args.shape;
  const int k_blocks = shape.k_blocks();
  const std::int64_t tile = blockIdx.x;
  const int k_block = static_cast<int>(tile % k_blocks);
  const int n_block = static_cast<int>(tile / k_blocks % shape.n_blocks());
  const std::int64_t group = tile / k_blocks / shape.n_blocks();
  const std::int64_t row_bytes = static_cast<std::int64_t>(shape.k) * element_bytes(shape.precision);
  for (int unit = threadIdx.x; unit < kTileBytes / 16; unit += blockDim.x) {
    const int row = unit / 8;
    const std::int64_t byte = k_block * std::int64_t{kTileRowBytes} + unit % 8 * 16;
    const int from = n_block * kTileOutputs + row;
    uint4 value = make_uint4(0, 0, 0, 0);
    if (from < shape.n && byte < row_bytes) {
      value = *reinterpret_cast<const uint4*>(args.values + (group * shape.n + from) * row_bytes +
                                              byte);
    }
    *reinterpret_cast<uint4*>(args.weights + tile * kTileBytes +
                              tile_offset(row, unit % 8 * 16)) = value;
  }
  if (shape.precision == Precision::kFp8 && threadIdx.x < kTileScales) {
    const int each = kTileOutputs / args.scale_rows;
    const int rows = (shape.n + args.scale_rows - 1) / args.scale_rows;
    const int half = min(n_block * each + static_cast<int>(threadIdx.x) % 2 * (each - 1), rows - 1);
    args.weight_scales[tile * kTileScales + threadIdx.x] =
        args.scales[(group * rows + half) * k_blocks + k_block];
  }
}

}  // namespace

Status pack_weights(const PackSource& source,
                    const PackedShape& shape,
                    std::uint8_t* weights,
                    float* weight_scales,
                    cudaStream_t stream) {
  const PackArguments args{static_cast<const std::uint8_t*>(source.values), source.scales, weights,
                           weight_scales, shape, source.scale_rows};
  pack_kernel<<<static_cast<unsigned>(shape.tiles()), 256, 0, stream>>>(args);
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) {
    return internal_error(std::string("packing weights: ") + cudaGetErrorString(error));
  }
  return {};
}

}  // namespace braid::cuda
