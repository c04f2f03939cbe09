// SPDX-License-Identifier: Apache-2.0
// The GEMM kernel of Hopper: out[m, n] = a[m, k] * w[n, k]^T for dense, ragged and padded groups.
//
// Idea: a persistent grid, one block a multiprocessor. Three warps ask the copy engine for the
// stages of a ring (activations and their scales by tensor map, weights as they were packed: one
// contiguous copy); math warpgroups multiply them with wgmma straight from shared memory, add
// blocks of 128 inputs with their scales in registers and store them.
// Memory map: shared_map.cuh. Operands of 128 bytes a row with 128-byte swizzle, no bank conflicts.
// Warp roles: warpgroups 0 .. math_groups - 1 multiply (multiply.cuh) and store (store_rows.cuh);
// of the last, three warps feed (feed.cuh), and all give their registers to the others.
// Bound: with many rows the card's power: at 88 to 90 % of the tensor cores' cycles the clock falls
// to about 1.5 GHz, so tiles are as large as registers allow and clusters share what they load.
// With few rows the memory: what counts is bytes in flight, so the ring is deep and runs on over
// tile borders. A single small problem: the time from a stage's arrival to its sum, so products of
// the next stage are under way while the last is added.
#pragma once

#include "backend/cuda/gemm/feed.cuh"
#include "backend/cuda/gemm/multiply.cuh"
#include "backend/cuda/gemm/store_rows.cuh"
#include "backend/cuda/gemm/tilings.h"

namespace braid::cuda {

// The register file of a multiprocessor, divided: what a thread of each role keeps.
constexpr int feeder_registers(int math_groups) { return math_groups == 3 ? 32 : 40; }
constexpr int math_registers(int math_groups) { return math_groups == 3 ? 160 : 232; }

template <class Map>
__device__ void prepare(const GemmArguments& args, Map shared) {
  constexpr Tiling kT = Map::kTiling;
  if (Map::kCountsTiles && threadIdx.x / 32 == 1) {
    TileOrder<Map>::count_tiles(args);
  }
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kT.stages; ++stage) {
      ptx::mbarrier_init(shared.full(stage), Feeder<Map>::kWarps);
      ptx::mbarrier_init(shared.empty(stage),
                         (kT.cluster_m + kT.cluster_n - 1) * Map::kMathWarps);
    }
    ptx::fence_mbarrier_init();
    ptx::prefetch_tensor_map(&args.activations);
    if (args.store == GemmStore::kTiles) {
      ptx::prefetch_tensor_map(&args.output);
    }
    if (Map::kScaled) {
      ptx::prefetch_tensor_map(&args.scales);
    }
  }
  if constexpr (kT.cluster() > 1) {
    ptx::cluster_arrive();
    ptx::cluster_wait();
  } else {
    __syncthreads();
  }
}

template <Precision kPrecision, int kIndex>
__global__ void __launch_bounds__(built_tiling<kPrecision>(kIndex).threads(), 1)
    gemm_kernel(const __grid_constant__ GemmArguments args) {
  constexpr Tiling kTiling = built_tiling<kPrecision>(kIndex);
  using Map = SharedMap<kPrecision, kTiling>;
  extern __shared__ __align__(1024) std::uint8_t memory[];
  const Map shared{ptx::shared_address(memory)};
  const int rank = kTiling.cluster() > 1 ? static_cast<int>(ptx::cluster_rank()) : 0;
  prepare(args, shared);

  const TileOrder<Map> first(args, rank);
  const int warp = ptx::warp_number();
  if (warp >= Map::kMathWarps) {
    ptx::give_registers<feeder_registers(kTiling.math_groups())>();
    Feeder<Map> feeder(args, shared, rank);
    if (warp == Map::kMathWarps) {
      feeder.template run<Feed::kActivations>(first);
    } else if (warp == Map::kMathWarps + 1) {
      feeder.template run<Feed::kWeights>(first);
    } else if (Map::kScaled && warp == Map::kMathWarps + 2) {
      feeder.template run<Feed::kScales>(first);
    }
  } else {
    ptx::take_registers<math_registers(kTiling.math_groups())>();
    TileOrder<Map> order = first;
    Multiplier<Map> multiplier(shared, warp, rank);
    RowStore<Map> out(args, shared, warp);
    typename Multiplier<Map>::Sums sum;
    Tile tile;
    while (order.next(tile)) {
      multiplier.run(tile, sum);
      unrolled<Map::kPieces>([&](auto piece) {
        const int row = multiplier.row_of(piece);
        out.store(sum[piece], tile.row + row, tile.rows - row,
                  tile.column + multiplier.column_of(piece), args.group[tile.group].n);
      });
      __syncwarp();  // converged, the compiler keeps what all lanes share in uniform registers
    }
    out.finish();
  }
  if constexpr (kTiling.cluster() > 1) {
    ptx::cluster_arrive();
    ptx::cluster_wait();
  }
}

}  // namespace braid::cuda
