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
  bool gate_up;
};

// The checkpoint's row that is output `output` of the packed matrix, or n if it is padding.
__device__ int source_row(const PackArguments& args, int output) {
  if (!args.gate_up) {
    return min(output, args.shape.n);
  }
  const int inter = args.shape.n / 2;
  const int within = output % kTileOutputs;
  const int row = output / kTileOutputs * 64 + within % 64;
  return within < 64 ? row : inter + row;
}

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
    const int from = source_row(args, n_block * kTileOutputs + row);
    uint4 value = make_uint4(0, 0, 0, 0);
    if (from < shape.n && byte < row_bytes) {
      value = *reinterpret_cast<const uint4*>(args.values + (group * shape.n + from) * row_bytes +
                                              byte);
    }
    *reinterpret_cast<uint4*>(args.weights + tile * kTileBytes +
                              tile_offset(row, unit % 8 * 16)) = value;
  }
  if (shape.precision == Precision::kFp8 && threadIdx.x < kTileScales) {
    const int from = min(source_row(args, n_block * kTileOutputs + threadIdx.x % 2 * 64), shape.n - 1);
    const int part = args.gate_up ? shape.n / 2 : shape.n;  // outputs with a grid of scales
    const int part_rows = (part + 127) / 128;
    const std::int64_t row = group * part_rows * (shape.n / part) + from / part * part_rows +
                             from % part / 128;
    args.weight_scales[tile * kTileScales + threadIdx.x] = args.scales[row * k_blocks + k_block];
  }
}

}  // namespace

Status pack_weights(const PackSource& source,
                    const PackedShape& shape,
                    std::uint8_t* weights,
                    float* weight_scales,
                    cudaStream_t stream) {
  if (source.gate_up && shape.n % 128 != 0) {
    return invalid_argument("gate and up of " + std::to_string(shape.n / 2) +
                            " outputs cannot be packed together: it takes a multiple of 64");
  }
  const PackArguments args{static_cast<const std::uint8_t*>(source.values), source.scales, weights,
                           weight_scales, shape, source.gate_up};
  pack_kernel<<<static_cast<unsigned>(shape.tiles()), 256, 0, stream>>>(args);
  if (const cudaError_t error = cudaGetLastError(); error != cudaSuccess) {
    return internal_error(std::string("packing weights: ") + cudaGetErrorString(error));
  }
  return {};
}

}  // namespace braid::cuda
