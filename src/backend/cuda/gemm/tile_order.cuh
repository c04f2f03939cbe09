// SPDX-License-Identifier: Apache-2.0
// Which output tiles a block computes, in which order. Every warp role walks the same sequence by
// itself, from row counts that may have been written on the device just before.
//
// Cluster c takes cluster tiles c, c + clusters, ... of the list: groups in order; within a group
// bands of `band` tiles in m; within a band m fastest. So the blocks that run at one time share
// both activations and weights in the second-level cache.
#pragma once

#include "backend/cuda/gemm/arguments.h"
#include "backend/cuda/gemm/tiling.h"

namespace braid::cuda {

struct Tile {
  int group;
  int row;     // of the activations and of the output
  int rows;    // that belong to the group, from `row` on; <= 0 if this block only helps its cluster
  int column;
  int k_blocks;  // of the group
};

// Math warps have few registers to spare: what a group is is read again for each tile, from the caches.
template <Tiling kTiling>
class TileOrder {
 public:
  __device__ TileOrder(const GemmArguments& args, int rank)
      : args_(args),
        rank_m_(rank % kTiling.cluster_m),
        rank_n_(rank / kTiling.cluster_m),
        next_(blockIdx.x / kTiling.cluster()) {}

  __device__ bool next(Tile& tile) {
    Group group = enter();
    while (next_ >= begin_ + group.tiles()) {
      begin_ += group.tiles();
      if (++group_ == args_.groups) {
        return false;
      }
      group = enter();
    }
    const int index = next_ - begin_;
    next_ += gridDim.x / kTiling.cluster();
    const int per_band = args_.band * group.tiles_n;
    const int first_m = index / per_band * args_.band;
    const int height = min(args_.band, group.tiles_m - first_m);
    const int within = index % per_band;
    const int m = (first_m + within % height) * kTiling.cluster_m + rank_m_;
    const int n = within / height * kTiling.cluster_n + rank_n_;
    tile = {group_, group.row + m * kTiling.rows, group.rows - m * kTiling.rows, n * kTiling.columns,
            args_.k_blocks[group_]};
    return true;
  }

 private:
  struct Group {
    int row, rows, tiles_m, tiles_n;
    __device__ int tiles() const { return tiles_m * tiles_n; }
  };

  __device__ static int ceil_div(int a, int b) { return (a + b - 1) / b; }

  __device__ Group enter() const {
    Group group{0, args_.rows, 0, 0};
    if (args_.offsets != nullptr) {
      group.row = __ldg(args_.offsets + group_);
      group.rows = __ldg(args_.offsets + group_ + 1) - group.row;
    } else if (args_.counts != nullptr) {
      group.row = group_ * args_.pitch;
      group.rows = __ldg(args_.counts + group_);
    }
    group.tiles_m = ceil_div(group.rows, kTiling.rows * kTiling.cluster_m);
    group.tiles_n = ceil_div(args_.n[group_], kTiling.columns * kTiling.cluster_n);
    return group;
  }

  const GemmArguments& args_;
  const int rank_m_;
  const int rank_n_;
  int next_;
  int group_ = 0;
  int begin_ = 0;  // the group's first tile
};

}  // namespace braid::cuda
