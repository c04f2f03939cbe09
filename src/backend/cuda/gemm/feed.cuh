// SPDX-License-Identifier: Apache-2.0
// The feeding warps of the GEMM kernel: an elected lane of each keeps the ring of stages full.
//
// They run ahead over tile borders, so the first stages of the next tile arrive while the math
// warpgroups still store the last. A stage is full when its bytes have
// arrived; it is empty when every warp that reads it, in all blocks that share it, says so.
#pragma once

#include "backend/cuda/gemm/shared_map.cuh"
#include "backend/cuda/gemm/tile_order.cuh"
#include "backend/cuda/ptx/barrier.cuh"
#include "backend/cuda/ptx/copy.cuh"
#include "backend/cuda/ptx/warp.cuh"

namespace braid::cuda {

// Three warps share the asking, since one alone would be too slow for small tiles.
enum class Feed { kActivations, kWeights, kScales };

template <class Map>
class Feeder {
  static constexpr Tiling kT = Map::kTiling;
  static constexpr int kCopies = Map::kSliceColumns / Map::kCopyColumns;
  static constexpr int kScaleCopies = Map::kWeightScales / kTileScales;
  static constexpr int kScaleBytes = kTileScales * sizeof(float);

 public:
  static constexpr int kWarps = Map::kScaled ? 3 : 2;  // each arrives once on a full barrier

  __device__ Feeder(const GemmArguments& args, Map shared, int rank)
      : args_(args), shared_(shared), rank_m_(rank % kT.cluster_m), rank_n_(rank / kT.cluster_m) {}

  template <Feed kFeed>
  __device__ void run(TileOrder<Map> order) {
    const bool issues = ptx::elected();
    Tile tile;
    while (order.next(tile)) {
      enter<kFeed>(tile);
      for (int block = 0; block < tile.k_blocks; ++block) {
        ptx::mbarrier_wait(shared_.empty(ring_.stage), ring_.parity ^ 1);
        if (issues) {
          load<kFeed>(tile, block);
        }
        __syncwarp();
        ring_.advance();
      }
    }
  }

 private:
  // First tile of the group's packed weights, or past the last the last: its products are never stored.
  __device__ std::int64_t packed_tile(const Tile& tile, int column) const {
    return static_cast<std::int64_t>(min(column, args_.group[tile.group].n - 1) / kTileOutputs) * tile.k_blocks;
  }

  template <Feed kFeed>
  __device__ void enter(const Tile& tile) {
    if constexpr (kFeed == Feed::kActivations) {
      boxes_ = min(max((tile.rows + kT.box_rows - 1) / kT.box_rows, 0), kT.rows / kT.box_rows);
    } else if constexpr (kFeed == Feed::kWeights) {
      const int slice = tile.column + rank_m_ * Map::kSliceColumns;
      for (int copy = 0; copy < kCopies; ++copy) {
        const int column = slice + copy * Map::kCopyColumns;
        weights_[copy] = args_.group[tile.group].weights + packed_tile(tile, column) * kTileBytes +
                         column % kTileOutputs * kTileRowBytes;
      }
    } else {
      for (int copy = 0; copy < kScaleCopies; ++copy) {
        const int column = tile.column + copy * kTileOutputs;
        scales_[copy] = args_.group[tile.group].weight_scales + packed_tile(tile, column) * kTileScales;
      }
    }
  }

  template <Feed kFeed>
  __device__ void load(const Tile& tile, int block) {
    const std::uint32_t full = shared_.full(ring_.stage);
    if constexpr (kFeed == Feed::kActivations) {
      ptx::mbarrier_arrive_expect_bytes(full, boxes_ * kT.box_rows * kTileRowBytes);
      for (int box = rank_n_; box < boxes_; box += kT.cluster_n) {
        load_activations(tile, block, box);
      }
    } else if constexpr (kFeed == Feed::kWeights) {
      ptx::mbarrier_arrive_expect_bytes(full, Map::kWeightBytes);
      for (int copy = 0; copy < kCopies; ++copy) {
        load_weights(block, copy);
      }
    } else {
      load_scales(tile, block);
    }
  }

  __device__ void load_scales(const Tile& tile, int block) {
    const std::uint32_t full = shared_.full(ring_.stage);
    ptx::mbarrier_arrive_expect_bytes(full, scale_box(kT.rows) * 4 + kScaleCopies * kScaleBytes);
    ptx::load_tile(shared_.scales(ring_.stage), &args_.scales, tile.row / 4 * 4, block, full,
                   args_.activation_policy);
    for (int copy = 0; copy < kScaleCopies; ++copy) {
      ptx::load_bytes(shared_.weight_scales(ring_.stage) + copy * kScaleBytes,
                      scales_[copy] + block * kTileScales, kScaleBytes, full, args_.weight_policy);
    }
  }

  __device__ void load_activations(const Tile& tile, int block, int box) {
    const std::uint32_t to =
        shared_.activations(ring_.stage) + box * kT.box_rows * kTileRowBytes;
    const std::uint32_t full = shared_.full(ring_.stage);
    const int x = block * (Map::kScaled ? kTileRowBytes : kTileRowBytes / 2);
    const int y = tile.row + box * kT.box_rows;
    if constexpr (kT.cluster_n == 1) {
      ptx::load_tile(to, &args_.activations, x, y, full, args_.activation_policy);
    } else {
      constexpr std::uint32_t kEveryN = kT.cluster_m == 1 ? 0x3 : 0x5;
      ptx::load_tile_multicast(to, &args_.activations, x, y, full,
                               static_cast<std::uint16_t>(kEveryN << rank_m_),
                               args_.activation_policy);
    }
  }

  __device__ void load_weights(int block, int copy) {
    constexpr int kBytes = Map::kCopyColumns * kTileRowBytes;
    const std::uint32_t to = shared_.weights(ring_.stage) +
                             (rank_m_ * Map::kSliceColumns + copy * Map::kCopyColumns) *
                                 kTileRowBytes;
    const std::uint8_t* from = weights_[copy] + static_cast<std::int64_t>(block) * kTileBytes;
    const std::uint32_t full = shared_.full(ring_.stage);
    if constexpr (kT.cluster_m == 1) {
      ptx::load_bytes(to, from, kBytes, full, args_.weight_policy);
    } else {
      constexpr std::uint32_t kEveryM = (1u << kT.cluster_m) - 1;
      ptx::load_bytes_multicast(to, from, kBytes, full,
                                static_cast<std::uint16_t>(kEveryM << (kT.cluster_m * rank_n_)),
                                args_.weight_policy);
    }
  }

  const GemmArguments& args_;
  const Map shared_;
  const int rank_m_;
  const int rank_n_;
  Ring<kT.stages> ring_;
  int boxes_ = 0;
  const std::uint8_t* weights_[kCopies] = {};
  const float* scales_[kScaleCopies] = {};
};

}  // namespace braid::cuda
