// SPDX-License-Identifier: Apache-2.0
// The math warpgroups of the GEMM kernel: products of full stages, summed in registers.
//
// e4m3: tensor cores keep too few bits to sum a whole row, so each 128 inputs are multiplied into
// fresh accumulators and added in float32 with their scales, while another warpgroup multiplies
// (Overlap::kTurns) or the next products of the same one are under way (kParts). bf16: the
// accumulators run through all of K, one stage always in flight.
// A row is summed in the order of K whatever the tiling: results do not depend on company.
#pragma once

#include "backend/cuda/gemm/shared_map.cuh"
#include "backend/cuda/gemm/tile_order.cuh"
#include "backend/cuda/ptx/barrier.cuh"
#include "backend/cuda/ptx/wgmma.cuh"

namespace braid::cuda {

template <class Map>
class Multiplier {
  static constexpr Tiling kT = Map::kTiling;
  static constexpr int kSteps = 4;  // products of 32 bytes in a stage's 128
  static constexpr int kReleases = kT.cluster_m + kT.cluster_n - 1;
  using Product = ptx::Wgmma<Map::kPartColumns>;

 public:
  using Sums = float[Map::kPieces][Map::kSums];

  __device__ Multiplier(Map shared, int warp, int rank)
      : shared_(shared),
        warp_(warp % 4),
        lane_(threadIdx.x % 32),
        group_(warp / 4),
        group_m_(group_ / kT.math_n),
        group_n_(group_ % kT.math_n),
        release_(release_address(rank)) {
    if (Map::kScaled && kT.overlap == Overlap::kTurns && group_ == kT.math_groups() - 1) {
      pass_turn();
    }
  }

  // Row of the tile at which this warp's 16 rows of a piece begin, and the piece's first column.
  __device__ int row_of(int piece) const {
    return group_m_ * Map::kGroupRows + piece / Map::kParts * 64 + warp_ * 16;
  }
  __device__ int column_of(int piece) const {
    return group_n_ * Map::kGroupColumns + piece % Map::kParts * Map::kPartColumns;
  }

  __device__ __forceinline__ void run(const Tile& tile, Sums& sum) {
#pragma unroll
    for (int piece = 0; piece < Map::kPieces; ++piece) {
#pragma unroll
      for (int i = 0; i < Map::kSums; ++i) {
        sum[piece][i] = 0.0f;
      }
    }
    if constexpr (not Map::kScaled) {
      run_plain(tile, sum);
    } else if (tile.rows <= group_m_ * Map::kGroupRows) {
      skip(tile);
    } else if constexpr (kT.overlap == Overlap::kTurns) {
      run_in_turn(tile, sum);
    } else {
      run_in_parts(tile, sum);
    }
  }

 private:
  // Warpgroups multiply in turn, so that each adds while another multiplies: left alone they fall
  // into step and all add at once. The turn passes when the last steps of a wave are under way,
  // which hides the time that passing it takes. Named barrier kTurn + g wakes warpgroup g.
  static constexpr std::uint32_t kTurn = 1;
  static constexpr int kLastSteps = 2;

  __device__ void take_turn() { ptx::named_barrier_sync(kTurn + group_, 256); }
  __device__ void pass_turn() {
    const int next = group_ + 1 == kT.math_groups() ? 0 : group_ + 1;
    ptx::named_barrier_arrive(kTurn + next, 256);
  }

  // Lane i releases stages to the i-th block that loads into them; lanes past those get nothing.
  __device__ std::uint32_t release_address(int rank) const {
    if constexpr (kT.cluster() == 1) {
      return shared_.empty(0);
    } else {
      const int m = rank % kT.cluster_m;
      const int n = rank / kT.cluster_m;
      const int other = lane_ - kT.cluster_m;
      const int to = lane_ < kT.cluster_m ? lane_ + kT.cluster_m * n
                                          : m + kT.cluster_m * (other < n ? other : other + 1);
      return ptx::map_to_rank(shared_.empty(0), lane_ < kReleases ? to : rank);
    }
  }

  __device__ void release(int stage) {
    __syncwarp();
    if (lane_ < kReleases) {
      if constexpr (kT.cluster() == 1) {
        ptx::mbarrier_arrive(release_ + stage * 8);
      } else {
        ptx::mbarrier_arrive_in_cluster(release_ + stage * 8);
      }
    }
  }

  __device__ std::uint64_t a_operand(int piece) const {
    const int row = group_m_ * Map::kGroupRows + piece / Map::kParts * 64;
    return ptx::swizzled_operand(shared_.activations(ring_.stage) + row * kTileRowBytes);
  }
  __device__ std::uint64_t b_operand(int piece) const {
    return ptx::swizzled_operand(shared_.weights(ring_.stage) + column_of(piece) * kTileRowBytes);
  }

  // A warpgroup without rows only keeps the ring and the turns going.
  __device__ void skip(const Tile& tile) {
    for (int block = 0; block < tile.k_blocks; ++block) {
      ptx::mbarrier_wait(shared_.full(ring_.stage), ring_.parity);
      if constexpr (kT.overlap == Overlap::kTurns) {
        take_turn();
        pass_turn();
      }
      release(ring_.stage);
      ring_.advance();
    }
  }

  __device__ __forceinline__ void run_in_turn(const Tile& tile, Sums& sum) {
    for (int block = 0; block < tile.k_blocks; ++block) {
      ptx::mbarrier_wait(shared_.full(ring_.stage), ring_.parity);
      take_turn();
      ptx::wgmma_fence();
      const std::uint64_t a = a_operand(0);
      const std::uint64_t b = b_operand(0);
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        Product::e4m3(part_[0], a + step * 2, b + step * 2, step != 0);
        if (step == kSteps - 1 - kLastSteps) {
          ptx::wgmma_commit();
        }
      }
      ptx::wgmma_commit();
      float scale[2][2];
      read_scales(tile, 0, scale);
      ptx::wgmma_wait<1>();
      pass_turn();
      ptx::wgmma_wait<0>();
      release(ring_.stage);
      add_scaled(sum[0], part_[0], scale);
      ring_.advance();
    }
  }

  __device__ static float read_float(std::uint32_t address) {
    float value;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(address));
    return value;
  }

  // scale[h][c]: of this thread's upper and lower row, columns below 64 and from 64 on.
  __device__ void read_scales(const Tile& tile, int piece, float (&scale)[2][2]) const {
    const std::uint32_t rows = shared_.scales(ring_.stage) +
                               (tile.row % 4 + row_of(piece) + lane_ / 4) * sizeof(float);
    const int column = tile.column % kTileOutputs + column_of(piece);
    const std::uint32_t weights =
        shared_.weight_scales(ring_.stage) +
        (column / kTileOutputs * kTileScales + column % kTileOutputs / 64) * sizeof(float);
    const float low = read_float(weights);
    const float high = Map::kPartColumns > 64 ? read_float(weights + 4) : low;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float row = read_float(rows + half * 32);
      scale[half][0] = row * low;
      scale[half][1] = row * high;
    }
  }

  __device__ __forceinline__ static void add_scaled(float (&sum)[Map::kSums],
                                                    float (&part)[Map::kSums],
                                                    const float (&scale)[2][2]) {
#pragma unroll
    for (int i = 0; i < Map::kSums; ++i) {
      ptx::wgmma_pin(part[i]);
    }
#pragma unroll
    for (int i = 0; i < Map::kSums; ++i) {
      sum[i] += part[i] * scale[i / 2 % 2][i / 32];
    }
  }

  // Products of one piece are under way while those of the piece before are added, also from one
  // block of k to the next. Pieces alternate between two sets of accumulators.
  __device__ __forceinline__ void run_in_parts(const Tile& tile, Sums& sum) {
#pragma unroll
    for (int i = 0; i < Map::kSums; ++i) {
      part_[1][i] = 0.0f;  // what the first piece adds
    }
    float scale[2][2][2] = {};
    int before = -1;
    int block = 0;
    for (; block + 2 <= tile.k_blocks; block += 2) {
      run_block<0>(tile, sum, scale, before);
      run_block<Map::kPieces % 2>(tile, sum, scale, before);
    }
    if (block < tile.k_blocks) {
      run_block<0>(tile, sum, scale, before);
      ptx::wgmma_wait<0>();
      add_last<1 - Map::kPieces % 2>(sum, scale);
    } else {
      ptx::wgmma_wait<0>();
      add_last<1>(sum, scale);
    }
    release(before);
  }

  template <int kSet>
  __device__ __forceinline__ void add_last(Sums& sum, const float (&scale)[2][2][2]) {
    add_scaled(sum[Map::kPieces - 1], part_[kSet], scale[kSet]);
  }

  // One block of k whose first piece takes accumulators kFirst. `before` is the stage whose last
  // products may still be under way, or negative.
  template <int kFirst>
  __device__ __forceinline__ void run_block(const Tile& tile,
                                            Sums& sum,
                                            float (&scale)[2][2][2],
                                            int& before) {
    ptx::mbarrier_wait(shared_.full(ring_.stage), ring_.parity);
    unrolled<Map::kPieces>([&](auto piece) {
      constexpr int kPiece = piece;
      constexpr int kSet = (kFirst + kPiece) % 2;
      read_scales(tile, kPiece, scale[kSet]);
      ptx::wgmma_fence();
      multiply_piece(kPiece, part_[kSet]);
      ptx::wgmma_commit();
      ptx::wgmma_wait<1>();
      if (kPiece == 0 && before >= 0) {
        release(before);
      }
      add_scaled(sum[(kPiece + Map::kPieces - 1) % Map::kPieces], part_[1 - kSet],
                 scale[1 - kSet]);
    });
    before = ring_.stage;
    ring_.advance();
  }

  __device__ __forceinline__ void multiply_piece(int piece, float (&part)[Map::kSums]) {
    const std::uint64_t a = a_operand(piece);
    const std::uint64_t b = b_operand(piece);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      Product::e4m3(part, a + step * 2, b + step * 2, step != 0);
    }
  }

  __device__ __forceinline__ void run_plain(const Tile& tile, Sums& sum) {
    int before = 0;
    for (int block = 0; block < tile.k_blocks; ++block) {
      ptx::mbarrier_wait(shared_.full(ring_.stage), ring_.parity);
      ptx::wgmma_fence();
#pragma unroll
      for (int wave = 0; wave < Map::kWaves; ++wave) {
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
          Product::bf16(sum[wave], a_operand(wave) + step * 2, b_operand(wave) + step * 2, 1);
        }
      }
      ptx::wgmma_commit();
      if (block > 0) {
        ptx::wgmma_wait<1>();
        release(before);
      }
      before = ring_.stage;
      ring_.advance();
    }
    ptx::wgmma_wait<0>();
    release(before);
#pragma unroll
    for (int wave = 0; wave < Map::kWaves; ++wave) {
#pragma unroll
      for (int i = 0; i < Map::kSums; ++i) {
        ptx::wgmma_pin(sum[wave][i]);
      }
    }
  }

  const Map shared_;
  const int warp_;
  const int lane_;
  const int group_;  // warpgroup
  const int group_m_;
  const int group_n_;
  const std::uint32_t release_;
  Ring<kT.stages> ring_;
  float part_[Map::kInParts ? 2 : 1][Map::kSums] = {};
};

}  // namespace braid::cuda
