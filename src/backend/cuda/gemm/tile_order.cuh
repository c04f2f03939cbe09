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
};

template <Tiling kTiling>
class TileOrder {
 public:
  __device__ TileOrder(const GemmArguments& args, int rank)
      : args_(args),
        rank_m_(rank % kTiling.cluster_m),
        rank_n_(rank / kTiling.cluster_m),
        next_(blockIdx.x / kTiling.cluster()),
        tiles_n_(ceil_div(args.n, kTiling.columns * kTiling.cluster_n)) {}

  __device__ bool next(Tile& tile) {
    while (next_ >= end_) {
      if (++group_ == args_.groups) {
        return false;
      }
      enter_group();
    }
    const int index = next_ - begin_;
    next_ += gridDim.x / kTiling.cluster();
    const int per_band = args_.band * tiles_n_;
    const int first_m = index / per_band * args_.band;
    const int height = min(args_.band, tiles_m_ - first_m);
    const int within = index % per_band;
    const int m = (first_m + within % height) * kTiling.cluster_m + rank_m_;
    const int n = within / height * kTiling.cluster_n + rank_n_;
    tile = {group_, first_row_ + m * kTiling.rows, rows_ - m * kTiling.rows, n * kTiling.columns};
    return true;
  }

 private:
  __device__ static int ceil_div(int a, int b) { return (a + b - 1) / b; }

  __device__ void enter_group() {
    if (args_.offsets != nullptr) {
      first_row_ = __ldg(args_.offsets + group_);
      rows_ = __ldg(args_.offsets + group_ + 1) - first_row_;
    } else if (args_.counts != nullptr) {
      first_row_ = group_ * args_.pitch;
      rows_ = __ldg(args_.counts + group_);
    } else {
      first_row_ = 0;
      rows_ = args_.rows;
    }
    tiles_m_ = ceil_div(rows_, kTiling.rows * kTiling.cluster_m);
    begin_ = end_;
    end_ += tiles_m_ * tiles_n_;
  }

  const GemmArguments& args_;
  const int rank_m_;
  const int rank_n_;
  int next_;
  const int tiles_n_;
  int group_ = -1;
  int begin_ = 0;
  int end_ = 0;
  int first_row_ = 0;
  int rows_ = 0;
  int tiles_m_ = 0;
};

}  // namespace braid::cuda
