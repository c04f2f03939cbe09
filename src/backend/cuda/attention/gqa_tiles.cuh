// SPDX-License-Identifier: Apache-2.0
// A tile of 16 keys and values of a kv head in shared memory, and its products with the fragments of one warp of
// decode_gqa.cu, for both kinds of cache.
//
// FP8 rows lie there as codes, which become bfloat16 on their way into a fragment: a lane takes 16 neighbouring codes
// of a key, and of 16 columns of values those at even and at odd places are two of the product's tiles; scales go to
// scores and weights. So queries and outputs lie in fragments in an order of their own.
#pragma once

#include "backend/cuda/attention/splits.cuh"
#include "backend/cuda/attention/tiles.cuh"

namespace braid::cuda {

inline constexpr int kGqaKeys = 16;

template <int kDim>
struct PlainTile {
  static constexpr int kPieces = kDim / 8;  // of 16 bytes, of a key
  static constexpr int kKeyBytes = kGqaKeys * kDim * 2, kBytes = 2 * kKeyBytes;

  // Starts this lane's copies of row r, that of the cache; zeros if it is negative.
  __device__ __forceinline__ static void load_piece(const DecodeTask& t, char* tile, int r, std::int64_t row, int kv_head, int piece) {
    const int at = value_at(r, piece, kDim), bytes = row < 0 ? 0 : 16;
    ptx::copy_16(tile + at, static_cast<const char*>(head_row(t.k, max(row, std::int64_t{0}), kv_head)) + piece * 16, bytes);
    ptx::copy_16(tile + kKeyBytes + at, static_cast<const char*>(head_row(t.v, max(row, std::int64_t{0}), kv_head)) + piece * 16, bytes);
  }
  __device__ __forceinline__ static void load_scale(const DecodeTask&, char*, int, std::int64_t, int) {}

  // Queries lie as value_at() says.
  __device__ __forceinline__ static void load_queries(const char* from, std::uint32_t (&query)[kDim / 16][4]) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) ptx::load_matrices(query[k], from + value_at(lane % 16, k * 2 + lane / 16, kDim));
  }
  __device__ __forceinline__ static void score(const char* tile, const std::uint32_t (&query)[kDim / 16][4], float (&c)[2][4]) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
      std::uint32_t b[4];
      ptx::load_matrices(b, tile + value_at(lane / 16 * 8 + lane % 8, k * 2 + lane / 8 % 2, kDim));
      ptx::mma_bf16(c[0], query[k][0], query[k][1], query[k][2], query[k][3], b[0], b[1]);
      ptx::mma_bf16(c[1], query[k][0], query[k][1], query[k][2], query[k][3], b[2], b[3]);
    }
  }
  // c: weights of both halves of the keys.
  __device__ __forceinline__ static void add(const char* tile, const float (&c)[2][4], float (&o)[kDim / 8][4]) {
    const std::uint32_t p[4] = {pack_bf16(c[0][0], c[0][1]), pack_bf16(c[0][2], c[0][3]), pack_bf16(c[1][0], c[1][1]), pack_bf16(c[1][2], c[1][3])};
    add_values<kDim>(o, p, tile + kKeyBytes, 0, 0, kDim, kDim);
  }
  // A head's sums of this lane: h is 0 for the first eight heads, 1 for the others.
  __device__ __forceinline__ static void put(const float (&o)[kDim / 8][4], int h, float* to) {
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) *reinterpret_cast<float2*>(to + n * 8 + threadIdx.x % 4 * 2) = {o[n][2 * h], o[n][2 * h + 1]};
  }
};

template <int kDim>
struct Fp8Tile {
  static constexpr int kPieces = kDim / 16;
  static constexpr int kKeyBytes = kGqaKeys * kDim, kScales = 2 * kKeyBytes, kBytes = kScales + 2 * kGqaKeys * 4;

  // Neither four lanes at two rows' keys, nor eight rows of one piece of the values, meet in a bank.
  __device__ __forceinline__ static int key_piece(int row, int piece) { return row * kDim + (kDim == 128 ? piece ^ row % 2 * 4 : piece) * 16; }
  __device__ __forceinline__ static int value_piece(int row, int piece) {
    return kKeyBytes + row * kDim + (piece ^ (kDim == 128 ? row % 8 : row / 2 % 4)) * 16;
  }
  __device__ __forceinline__ static const char* row_at(const ops::Rows& rows, std::int64_t row) {
    return static_cast<const char*>(rows.base) + max(row, std::int64_t{0}) * rows.row_stride;
  }
  __device__ __forceinline__ static int first_of(const ops::Rows& rows, int kv_head) { return static_cast<int>(rows.first) + kv_head * kDim; }

  __device__ __forceinline__ static void load_piece(const DecodeTask& t, char* tile, int r, std::int64_t row, int kv_head, int piece) {
    const int bytes = row < 0 ? 0 : 16;
    ptx::copy_16(tile + key_piece(r, piece), row_at(t.k, row) + first_of(t.k, kv_head) + piece * 16, bytes);
    ptx::copy_16(tile + value_piece(r, piece), row_at(t.v, row) + first_of(t.v, kv_head) + piece * 16, bytes);
  }
  // Of key r % 16, or from 16 on of its value.
  __device__ __forceinline__ static void load_scale(const DecodeTask& t, char* tile, int r, std::int64_t row, int kv_head) {
    const ops::Rows& rows = r < kGqaKeys ? t.k : t.v;
    ptx::copy_4(tile + kScales + r * 4, row_at(rows, row) + rows.fp8.scales_at() + first_of(rows, kv_head) / kDim * 4, row < 0 ? 0 : 4);
  }

  // Those of a lane's 16 codes of each 64, four at a time: the first and third, the second and fourth.
  __device__ __forceinline__ static void load_queries(const char* from, std::uint32_t (&query)[kDim / 16][4]) {
    const int g = threadIdx.x % 32 / 4, q = threadIdx.x % 4;
#pragma unroll
    for (int k = 0; k < kDim / 16; ++k) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int element = k / 4 * 64 + q * 16 + k % 4 * 4;
        const uint2 four = *reinterpret_cast<const uint2*>(from + value_at(g + 8 * h, element / 8, kDim) + element % 8 * 2);
        query[k][h] = __byte_perm(four.x, four.y, 0x5410);
        query[k][2 + h] = __byte_perm(four.x, four.y, 0x7632);
      }
    }
  }
  // This lane's two keys of half n, or from 2 on values.
  __device__ __forceinline__ static float2 scales(const char* tile, int n) {
    return *reinterpret_cast<const float2*>(tile + kScales + (n * 8 + threadIdx.x % 4 * 2) * 4);
  }
  __device__ __forceinline__ static void score(const char* tile, const std::uint32_t (&query)[kDim / 16][4], float (&c)[2][4]) {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int j = 0; j < kDim / 64; ++j) {
        const uint4 four = *reinterpret_cast<const uint4*>(tile + key_piece(n * 8 + threadIdx.x % 32 / 4, j * 4 + threadIdx.x % 4));
        const std::uint32_t codes[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const auto& a = query[j * 4 + i];
          std::uint32_t even, odd;
          fp8_to_bf16(codes[i], even, odd);
          ptx::mma_bf16(c[n], a[0], a[1], a[2], a[3], even, odd);
        }
      }
      const float2 scale = scales(tile, n);
      c[n][0] *= scale.x, c[n][1] *= scale.y, c[n][2] *= scale.x, c[n][3] *= scale.y;
    }
  }
  __device__ __forceinline__ static void add(const char* tile, const float (&c)[2][4], float (&o)[kDim / 8][4]) {
    const float2 low = scales(tile, 2), high = scales(tile, 3);
    const std::uint32_t p[4] = {pack_bf16(c[0][0] * low.x, c[0][1] * low.y), pack_bf16(c[0][2] * low.x, c[0][3] * low.y),
                                pack_bf16(c[1][0] * high.x, c[1][1] * high.y), pack_bf16(c[1][2] * high.x, c[1][3] * high.y)};
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int piece = 0; piece < kPieces; piece += 2) {
      std::uint32_t codes[4];
      ptx::load_matrices_transposed(codes, tile + value_piece(lane % 16, piece + lane / 16));
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        std::uint32_t even[2], odd[2];
        fp8_to_bf16(codes[2 * i], even[0], odd[0]);
        fp8_to_bf16(codes[2 * i + 1], even[1], odd[1]);
        ptx::mma_bf16(o[2 * (piece + i)], p[0], p[1], p[2], p[3], even[0], even[1]);
        ptx::mma_bf16(o[2 * (piece + i) + 1], p[0], p[1], p[2], p[3], odd[0], odd[1]);
      }
    }
  }
  __device__ __forceinline__ static void put(const float (&o)[kDim / 8][4], int h, float* to) {
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece) {
      const auto &even = o[2 * piece], &odd = o[2 * piece + 1];
      *reinterpret_cast<float4*>(to + piece * 16 + threadIdx.x % 4 * 4) = {even[2 * h], odd[2 * h], even[2 * h + 1], odd[2 * h + 1]};
    }
  }
};

}  // namespace braid::cuda
