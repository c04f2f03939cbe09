// SPDX-License-Identifier: Apache-2.0
// Which output tiles a block computes, in which order. Every warp role walks the same sequence by
// itself, from row counts that may have been written on the device just before.
//
// Cluster c takes cluster tiles c, c + clusters, ... of the list: groups in order; within a group
// bands of `band` tiles in m; within a band m fastest. So the blocks that run at one time share
// both activations and weights in the second-level cache.
#pragma once

#include "backend/cuda/gemm/arguments.h"
#include "backend/cuda/gemm/shared_map.cuh"

namespace braid::cuda {

struct Tile {
  int group;
  int row;     // of the activations and of the output
  int rows;    // that belong to the group, from `row` on; <= 0 if this block only helps its cluster
  int column;
  int k_blocks;  // of the group
};

// Math warps have few registers to spare: what a group is is read again for each tile, from the caches.
// In decode steps most groups are empty; so the tilings for few rows count once where each group's tiles
// end (count_tiles), and stride over those (which takes fewer registers than to ask all lanes).
template <class Map>
class TileOrder {
  static constexpr Tiling kTiling = Map::kTiling;

 public:
  // Where tiles are counted, the block has met behind count_tiles.
  __device__ TileOrder(const GemmArguments& args, int rank)
      : args_(args),
        rank_m_(rank % kTiling.cluster_m),
        rank_n_(rank / kTiling.cluster_m),
        next_(blockIdx.x / kTiling.cluster()) {}

  // Called by one whole warp, where tiles are counted.
  __device__ static void count_tiles(const GemmArguments& args) {
    constexpr int kEach = 4;
    int behind = 0;
    for (int from = 0; from < args.groups; from += 32 * kEach) {
      const int mine = from + threadIdx.x % 32 * kEach;
      int tiles[kEach];
      int sum = 0;
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        tiles[i] = mine + i < args.groups ? enter(args, mine + i).tiles() : 0;
        sum += tiles[i];
      }
      int end = sum;
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        const int before = __shfl_up_sync(~0u, end, step);
        end += static_cast<int>(threadIdx.x % 32) >= step ? before : 0;
      }
      int first = behind + end - sum;
      behind += __shfl_sync(~0u, end, 31);
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        first += tiles[i];
        if (mine + i < args.groups) {
          group_ends()[mine + i] = first;
        }
      }
    }
  }

  __device__ bool next(Tile& tile) {
    if (next_ >= end_ && not find_group()) {
      return false;
    }
    const Group group = enter(args_, group_);
    const int index = next_ - end_ + group.tiles();
    next_ += gridDim.x / kTiling.cluster();
    const int per_band = args_.band * group.tiles_n;
    const int first_m = index / per_band * args_.band;
    const int height = min(args_.band, group.tiles_m - first_m);
    const int within = index % per_band;
    const int m = (first_m + within % height) * kTiling.cluster_m + rank_m_;
    const int n = within / height * kTiling.cluster_n + rank_n_;
    tile = {group_, group.row + m * kTiling.rows, group.rows - m * kTiling.rows, n * kTiling.columns,
            args_.group[group_].k_blocks};
    return true;
  }

 private:
  struct Group {
    int row, rows, tiles_m, tiles_n;
    __device__ int tiles() const { return tiles_m * tiles_n; }
  };

  // The first tile behind each group.
  __device__ static int* group_ends() {
    extern __shared__ __align__(1024) std::uint8_t memory[];
    return reinterpret_cast<int*>(memory + Map::kGroupEnds);
  }

  __device__ static int ceil_div(int a, int b) { return (a + b - 1) / b; }

  __device__ static Group enter(const GemmArguments& args, int number) {
    Group group{0, args.rows, 0, 0};
    if (args.offsets != nullptr) {
      group.row = __ldg(args.offsets + number);
      group.rows = __ldg(args.offsets + number + 1) - group.row;
    } else if (args.counts != nullptr) {
      group.row = number * args.pitch;
      group.rows = __ldg(args.counts + number);
    }
    if (group.rows > 0) {
      group.tiles_m = ceil_div(group.rows, kTiling.rows * kTiling.cluster_m);
      group.tiles_n = ceil_div(args.group[number].n, kTiling.columns * kTiling.cluster_n);
    }
    return group;
  }

  // The group of tile next_, behind group_.
  __device__ bool find_group() {
    if constexpr (Map::kCountsTiles) {
      for (int step = 16; step > 0; step /= 4) {
        while (group_ + step < args_.groups && group_ends()[group_ + step] <= next_) {
          group_ += step;
        }
      }
      if (++group_ < args_.groups) {
        end_ = group_ends()[group_];
        return true;
      }
    } else {
      while (++group_ < args_.groups) {
        end_ += enter(args_, group_).tiles();
        if (end_ > next_) {
          return true;
        }
      }
    }
    return false;
  }

  const GemmArguments& args_;
  const int rank_m_;
  const int rank_n_;
  int next_;
  int group_ = -1;
  int end_ = 0;  // the first tile behind the group
};

}  // namespace braid::cuda
