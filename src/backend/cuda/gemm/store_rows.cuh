// SPDX-License-Identifier: Apache-2.0
// The end of a tile: float32 sums to rows of the output.
//
// Each warp stores its own 16 rows of a wave, 64 columns at a time, through its own piece of shared
// memory and the copy engine, so no warp waits for another. Where a group ends within the 16 rows
// the valid ones are written from registers, since the rows below belong to somebody else; so are
// float32 rows, whose four neighbouring threads write 32 bytes.
#pragma once

#include <cuda_bf16.h>

#include "backend/cuda/gemm/shared_map.cuh"
#include "backend/cuda/gemm/tile_order.cuh"
#include "backend/cuda/ptx/barrier.cuh"
#include "backend/cuda/ptx/copy.cuh"
#include "backend/cuda/ptx/warp.cuh"

namespace braid::cuda {

__device__ inline std::uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
}

template <class Map>
class RowStore {
  static constexpr Tiling kT = Map::kTiling;
  static constexpr int kChunks = Map::kPartColumns / Map::kChunk;
  static constexpr int kTogether = kChunks < kT.store_buffers ? kChunks : kT.store_buffers;

 public:
  __device__ RowStore(const GemmArguments& args, Map shared, int warp)
      : args_(args), shared_(shared), warp_(warp), lane_(threadIdx.x % 32) {}

  // `row` is the first of the warp's 16 rows in the output, `rows` how many of them are valid; columns
  // from n on are not written.
  __device__ __forceinline__ void store(float (&sum)[Map::kSums], int row, int rows, int column, int n) {
    if (rows >= 16 && args_.store == GemmStore::kTiles) {
      unrolled<kChunks / kTogether>([&](auto group) {
        store_chunks<group * kTogether>(sum, row, column, n);
      });
    } else if (rows > 0) {
      if (args_.accumulate) {
        add_old(sum, row, rows, column, n);
      }
      store_valid(sum, row, rows, column, n);
    }
  }

  __device__ void finish() {
    if (lane_ == 0) {
      ptx::store_wait_read<0>();
    }
  }

 private:
  // Chunks kFirst .. kFirst + kTogether - 1, which share a fence.
  template <int kFirst>
  __device__ __forceinline__ void store_chunks(const float (&sum)[Map::kSums],
                                               int row,
                                               int column,
                                               int n) {
    if (lane_ == 0) {
      ptx::store_wait_read<kT.store_buffers / kTogether - 1>();
    }
    __syncwarp();
    unrolled<kTogether>([&](auto chunk) { write_chunk<kFirst + chunk>(sum, buffer_ + chunk); });
    ptx::fence_async_shared();
    __syncwarp();
    if (lane_ == 0) {
      for (int chunk = 0; chunk < kTogether; ++chunk) {
        const int x = column + (kFirst + chunk) * Map::kChunk;
        if (x < n) {
          ptx::store_tile(&args_.output, x, row, shared_.output(warp_, buffer_ + chunk));
        }
      }
      ptx::store_commit();
    }
    buffer_ = buffer_ + kTogether == kT.store_buffers ? 0 : buffer_ + kTogether;
  }

  template <int kIndex>
  __device__ __forceinline__ void write_chunk(const float (&sum)[Map::kSums], int buffer) {
    const std::uint32_t to = shared_.output(warp_, buffer);
#pragma unroll
    for (int unit = 0; unit < Map::kChunk / 8; unit += 2) {
      const int i = (kIndex * Map::kChunk / 8 + unit) * 4;
      ptx::store_matrices(to + unit_offset(unit), pack_bf16(sum[i], sum[i + 1]),
                          pack_bf16(sum[i + 2], sum[i + 3]), pack_bf16(sum[i + 4], sum[i + 5]),
                          pack_bf16(sum[i + 6], sum[i + 7]));
    }
  }

  // Where this lane's row of the matrices at 16-byte units `unit` and `unit + 1` begins.
  __device__ std::uint32_t unit_offset(int unit) const {
    constexpr std::uint32_t kRowBytes = Map::kChunk * 2;
    constexpr std::uint32_t kSwizzle = kRowBytes - 16;
    const std::uint32_t row = lane_ % 16;
    const std::uint32_t linear = row * kRowBytes + (unit + lane_ / 16) * 16;
    return linear ^ (linear >> 3 & kSwizzle);
  }

  __device__ __forceinline__ void store_valid(const float (&sum)[Map::kSums], int row, int rows, int column, int n) {
#pragma unroll
    for (int unit = 0; unit < Map::kPartColumns / 8; ++unit) {
      const int x = column + unit * 8 + lane_ % 4 * 2;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int y = lane_ / 4 + half * 8;
        if (y < rows && x < n) {
          put(static_cast<std::int64_t>(row + y) * args_.out_stride + x, sum[unit * 4 + half * 2],
              sum[unit * 4 + half * 2 + 1], x + 1 < n);
        }
      }
    }
  }

  // What is there, all of it under way before the first store.
  __device__ __forceinline__ void add_old(float (&sum)[Map::kSums], int row, int rows, int column, int n) {
    const float* out = static_cast<const float*>(args_.out);
#pragma unroll
    for (int i = 0; i < Map::kSums; ++i) {
      const int x = column + i / 4 * 8 + lane_ % 4 * 2 + i % 2;
      const int y = lane_ / 4 + i / 2 % 2 * 8;
      if (y < rows && x < n) {
        sum[i] += out[static_cast<std::int64_t>(row + y) * args_.out_stride + x];
      }
    }
  }

  // One or two neighbouring elements.
  __device__ __forceinline__ void put(std::int64_t at, float low, float high, bool both) {
    if (args_.out_float) {
      float* out = static_cast<float*>(args_.out) + at;
      if (both && args_.out_paired) {
        *reinterpret_cast<float2*>(out) = make_float2(low, high);
        return;
      }
      out[0] = low;
      if (both) {
        out[1] = high;
      }
      return;
    }
    auto* out = static_cast<__nv_bfloat16*>(args_.out) + at;
    if (both && args_.out_paired) {
      *reinterpret_cast<std::uint32_t*>(out) = pack_bf16(low, high);
      return;
    }
    out[0] = __float2bfloat16_rn(low);
    if (both) {
      out[1] = __float2bfloat16_rn(high);
    }
  }

  const GemmArguments& args_;
  const Map shared_;
  const int warp_;
  const int lane_;
  int buffer_ = 0;
};

}  // namespace braid::cuda
