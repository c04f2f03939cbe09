// SPDX-License-Identifier: Apache-2.0
// Eight neighbouring values of a row on their way into Hopper's GEMM: from bfloat16, and back or to e4m3. The 16
// threads of a team hold the 128 columns that share a scale.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

namespace braid::cuda {

inline constexpr int kFeedEach = 8;            // columns of a thread
inline constexpr int kFeedColumns = 128;       // of one scale
inline constexpr int kFeedTeam = kFeedColumns / kFeedEach;
inline constexpr float kLargestE4m3 = 448.0f;

__device__ inline void unpack_8(const uint4& packed, float (&x)[kFeedEach]) {
  const auto* pairs = reinterpret_cast<const __nv_bfloat162*>(&packed);
#pragma unroll
  for (int i = 0; i < kFeedEach / 2; ++i) {
    const float2 both = __bfloat1622float2(pairs[i]);
    x[2 * i] = both.x, x[2 * i + 1] = both.y;
  }
}

__device__ inline uint4 to_bf16_8(const float (&x)[kFeedEach]) {
  uint4 packed;
  auto* pairs = reinterpret_cast<__nv_bfloat162*>(&packed);
#pragma unroll
  for (int i = 0; i < kFeedEach / 2; ++i) pairs[i] = __floats2bfloat162_rn(x[2 * i], x[2 * i + 1]);
  return packed;
}

// The largest magnitude in a team, not zero. Asked by whole warps.
__device__ inline float largest_of_team(const float (&x)[kFeedEach]) {
  float most = 1e-10f;
#pragma unroll
  for (int i = 0; i < kFeedEach; ++i) most = fmaxf(most, fabsf(x[i]));
#pragma unroll
  for (int offset = kFeedTeam / 2; offset > 0; offset /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, offset));
  return most;
}

// Of a team whose largest magnitude is `most`; a value stands for itself times most / kLargestE4m3.
__device__ inline uint2 to_e4m3_8(const float (&x)[kFeedEach], float most) {
  const float inverse = kLargestE4m3 / most;
  uint2 packed;
  auto* pairs = reinterpret_cast<__nv_fp8x2_storage_t*>(&packed);
#pragma unroll
  for (int i = 0; i < kFeedEach / 2; ++i) {
    pairs[i] = __nv_cvt_float2_to_fp8x2(make_float2(x[2 * i] * inverse, x[2 * i + 1] * inverse), __NV_SATFINITE, __NV_E4M3);
  }
  return packed;
}

}  // namespace braid::cuda
