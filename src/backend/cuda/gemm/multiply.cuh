// SPDX-License-Identifier: Apache-2.0
// The math warpgroups of the GEMM kernel: products of full stages, summed in registers.
//
// e4m3: tensor cores keep too few bits to sum a whole row, so each 128 inputs are multiplied into
// fresh accumulators and added in float32 with their scales. While one warpgroup adds, the other
// multiplies. bf16: the accumulators run through all of K, one stage always in flight.
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
  using Product = ptx::Wgmma<Map::kGroupColumns>;

 public:
  using Sums = float[Map::kWaves][Map::kSums];

  __device__ Multiplier(const GemmArguments& args, Map shared, int warp, int rank)
      : args_(args),
        shared_(shared),
        warp_(warp % 4),
        lane_(threadIdx.x % 32),
        group_(warp / 4),
        group_m_(group_ / kT.math_n),
        group_n_(group_ % kT.math_n),
        release_(release_address(rank)) {
    if (kT.in_turn && group_ == kT.math_groups() - 1) {
      pass_turn();
    }
  }

  // Row of the tile at which this warp's 16 rows of a wave begin, and column of its warpgroup.
  __device__ int row_of(int wave) const {
    return group_m_ * Map::kGroupRows + wave * 64 + warp_ * 16;
  }
  __device__ int column() const { return group_n_ * Map::kGroupColumns; }

  __device__ __forceinline__ void run(const Tile& tile, Sums& sum) {
#pragma unroll
    for (int wave = 0; wave < Map::kWaves; ++wave) {
#pragma unroll
      for (int i = 0; i < Map::kSums; ++i) {
        sum[wave][i] = 0.0f;
      }
    }
    if constexpr (Map::kScaled) {
      run_scaled(tile, sum);
    } else {
      run_plain(sum);
    }
  }

 private:
  // Warpgroups multiply in turn, so that each adds while another multiplies: left alone they fall
  // into step and all add at once. The turn passes when the last of a wave's steps is under way,
  // which hides the time that passing it takes. Named barrier kTurn + g wakes warpgroup g.
  static constexpr std::uint32_t kTurn = 1;
  static constexpr int kLastSteps = 1;

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

  __device__ std::uint64_t a_operand(int wave) const {
    const int row = group_m_ * Map::kGroupRows + wave * 64;
    return ptx::swizzled_operand(shared_.activations(ring_.stage) + row * kTileRowBytes);
  }
  __device__ std::uint64_t b_operand() const {
    return ptx::swizzled_operand(shared_.weights(ring_.stage) + column() * kTileRowBytes);
  }

  // How many waves of this warpgroup hold rows of the group. Those who take turns do so equally
  // often.
  __device__ int waves_of(const Tile& tile) const {
    if constexpr (kT.in_turn && kT.math_m > 1) {
      return Map::kWaves;
    }
    const int rows = tile.rows - group_m_ * Map::kGroupRows;
    return min(max((rows + 63) / 64, 0), Map::kWaves);
  }

  __device__ __forceinline__ void run_scaled(const Tile& tile, Sums& sum) {
    const int waves = waves_of(tile);
    for (int block = 0; block < args_.k_blocks; ++block) {
      ring_.stage = __shfl_sync(0xffffffff, ring_.stage, 0);
      ptx::mbarrier_wait(shared_.full(ring_.stage), ring_.parity);
#pragma unroll
      for (int wave = 0; wave < Map::kWaves; ++wave) {
        if (wave < waves) {
          multiply_wave(wave);
          float scale[2][2];
          read_scales(tile, wave, scale);
          finish_wave();
          if (wave == waves - 1) {
            release(ring_.stage);
          }
          add_scaled(sum[wave], scale);
        }
      }
      if (waves == 0) {
        release(ring_.stage);
      }
      ring_.advance();
    }
  }

  __device__ __forceinline__ void multiply_wave(int wave) {
    const std::uint64_t a = a_operand(wave);
    const std::uint64_t b = b_operand();
    if constexpr (kT.in_turn) {
      take_turn();
    }
    ptx::wgmma_fence();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      Product::e4m3(part_, a + step * 2, b + step * 2, step != 0);
      if (kT.in_turn && step == kSteps - 1 - kLastSteps) {
        ptx::wgmma_commit();
      }
    }
    ptx::wgmma_commit();
  }

  __device__ __forceinline__ void finish_wave() {
    if constexpr (kT.in_turn) {
      ptx::wgmma_wait<1>();
      pass_turn();
    }
    ptx::wgmma_wait<0>();
  }

  __device__ static float read_float(std::uint32_t address) {
    float value;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(address));
    return value;
  }

  // scale[h][c]: of this thread's upper and lower row, columns below 64 and from 64 on.
  __device__ void read_scales(const Tile& tile, int wave, float (&scale)[2][2]) const {
    const std::uint32_t rows = shared_.scales(ring_.stage) +
                               (tile.row % 4 + row_of(wave) + lane_ / 4) * sizeof(float);
    const std::uint32_t weights =
        shared_.weight_scales(ring_.stage) + column() / 64 * sizeof(float);
    const float low = read_float(weights);
    const float high = Map::kGroupColumns > 64 ? read_float(weights + 4) : low;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float row = read_float(rows + half * 32);
      scale[half][0] = row * low;
      scale[half][1] = row * high;
    }
  }

  __device__ __forceinline__ void add_scaled(float (&sum)[Map::kSums], const float (&scale)[2][2]) {
#pragma unroll
    for (int i = 0; i < Map::kSums; ++i) {
      ptx::wgmma_pin(part_[i]);
    }
#pragma unroll
    for (int i = 0; i < Map::kSums; ++i) {
      sum[i] += part_[i] * scale[i / 2 % 2][i / 32];
    }
  }

  __device__ __forceinline__ void run_plain(Sums& sum) {
    int before = 0;
    for (int block = 0; block < args_.k_blocks; ++block) {
      ptx::mbarrier_wait(shared_.full(ring_.stage), ring_.parity);
      ptx::wgmma_fence();
#pragma unroll
      for (int wave = 0; wave < Map::kWaves; ++wave) {
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
          Product::bf16(sum[wave], a_operand(wave) + step * 2, b_operand() + step * 2, 1);
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

  const GemmArguments& args_;
  const Map shared_;
  const int warp_;
  const int lane_;
  const int group_;  // warpgroup
  const int group_m_;
  const int group_n_;
  const std::uint32_t release_;
  Ring<kT.stages> ring_;
  float part_[Map::kScaled ? Map::kSums : 1] = {};
};

}  // namespace braid::cuda
