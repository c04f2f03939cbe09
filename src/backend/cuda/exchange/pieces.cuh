// SPDX-License-Identifier: Apache-2.0
// Pieces of rows as one thread moves them: 16 bytes of the wire, made from or into bfloat16 columns.
// Rows that are not aligned to pieces are read and written column by column.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <cstdint>
#include <type_traits>

#include "tensor/tensor.h"

namespace braid::cuda {

__device__ inline bool aligned(const void* data, std::int64_t stride_bytes) {
  return (reinterpret_cast<std::uintptr_t>(data) | static_cast<std::uint64_t>(stride_bytes)) % 16 == 0;
}

// Eight columns of a bfloat16 row from `column` on; zero beyond the row's end. `wide`: rows are aligned.
__device__ inline uint4 load_eight(const __nv_bfloat16* row, std::int64_t column, std::int64_t columns, bool wide) {
  uint4 piece{};
  if (column >= columns) return piece;
  if (wide && column + 8 <= columns) return __ldcg(reinterpret_cast<const uint4*>(row + column));
  auto* values = reinterpret_cast<__nv_bfloat16*>(&piece);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (column + i < columns) values[i] = row[column + i];
  }
  return piece;
}

// 16 columns as e4m3 codes. Eight neighbouring threads hold the 128 columns of one scale.
struct Fp8Piece {
  static constexpr int kColumns = 16;
  uint4 codes;
  float scale;
};
// 8 columns as they are.
struct WidePiece {
  static constexpr int kColumns = 8;
  uint4 values;
};

__device__ inline std::uint32_t four_codes(float a, float b, float c, float d) {
  const std::uint32_t low = __nv_cvt_float2_to_fp8x2(float2{a, b}, __NV_SATFINITE, __NV_E4M3);
  const std::uint32_t high = __nv_cvt_float2_to_fp8x2(float2{c, d}, __NV_SATFINITE, __NV_E4M3);
  return low | high << 16;
}

// The columns of a piece before they are encoded.
struct Fp8Source {
  uint4 low, high;
};
__device__ inline void load_source(const __nv_bfloat16* row, std::int64_t column, std::int64_t columns, bool wide, Fp8Source& source) {
  source = {load_eight(row, column, columns, wide), load_eight(row, column + 8, columns, wide)};
}
__device__ inline void load_source(const __nv_bfloat16* row, std::int64_t column, std::int64_t columns, bool wide, WidePiece& source) {
  source.values = load_eight(row, column, columns, wide);
}
__device__ inline WidePiece encode(const WidePiece& piece) { return piece; }
__device__ inline Fp8Piece encode(const Fp8Source& source) {
  constexpr float kLargestCode = 448.0f, kSmallestPeak = 1e-4f;
  float values[16];
  const auto* pairs = reinterpret_cast<const __nv_bfloat162*>(&source);
  float peak = kSmallestPeak;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float2 pair = __bfloat1622float2(pairs[i]);
    values[2 * i] = pair.x, values[2 * i + 1] = pair.y;
    peak = fmaxf(peak, fmaxf(fabsf(pair.x), fabsf(pair.y)));
  }
  const unsigned neighbours = 0xffu << (threadIdx.x % 32 / 8 * 8);
#pragma unroll
  for (int offset = 4; offset > 0; offset /= 2) peak = fmaxf(peak, __shfl_xor_sync(neighbours, peak, offset));
  const float factor = kLargestCode / peak;
#pragma unroll
  for (float& value : values) value *= factor;
  Fp8Piece piece;
  piece.codes = {four_codes(values[0], values[1], values[2], values[3]), four_codes(values[4], values[5], values[6], values[7]),
                 four_codes(values[8], values[9], values[10], values[11]), four_codes(values[12], values[13], values[14], values[15])};
  piece.scale = peak / kLargestCode;
  return piece;
}
// To and from a record of the wire.
__device__ inline void put_record(std::byte* record, std::int64_t, std::int64_t column, const WidePiece& piece) {
  *reinterpret_cast<uint4*>(record + column * 2) = piece.values;
}
__device__ inline void put_record(std::byte* record, std::int64_t codes_bytes, std::int64_t column, const Fp8Piece& piece) {
  *reinterpret_cast<uint4*>(record + column) = piece.codes;
  if (column % 128 == 0) reinterpret_cast<float*>(record + codes_bytes)[column / 128] = piece.scale;
}
__device__ inline void get_record(const std::byte* record, std::int64_t, std::int64_t column, WidePiece& piece) {
  piece.values = __ldcg(reinterpret_cast<const uint4*>(record + column * 2));
}
__device__ inline void get_record(const std::byte* record, std::int64_t codes_bytes, std::int64_t column, Fp8Piece& piece) {
  piece.codes = __ldcg(reinterpret_cast<const uint4*>(record + column));
  piece.scale = __ldcg(reinterpret_cast<const float*>(record + codes_bytes) + column / 128);
}

// As bfloat16 in a row for the experts.
__device__ inline void put_wide(__nv_bfloat16* row, std::int64_t column, std::int64_t, const WidePiece& piece) {
  *reinterpret_cast<uint4*>(row + column) = piece.values;
}
__device__ inline void put_wide(__nv_bfloat16* row, std::int64_t column, std::int64_t columns, const Fp8Piece& piece) {
  const auto* codes = reinterpret_cast<const __nv_fp8_e4m3*>(&piece.codes);
  uint4 halves[2];
  auto* values = reinterpret_cast<__nv_bfloat16*>(halves);
#pragma unroll
  for (int i = 0; i < 16; ++i) values[i] = __float2bfloat16_rn(static_cast<float>(codes[i]) * piece.scale);
  auto* to = reinterpret_cast<uint4*>(row + column);
  to[0] = halves[0];
  if (column + 8 < columns) to[1] = halves[1];
}

// Sums of kColumns columns of a row: 16 bytes of a returned row.
template <int kColumns>
struct Sums {
  float value[kColumns];
};
__device__ inline bool rows_are_wide(const Activations& rows) {
  return aligned(rows.data, rows.stride * (rows.dtype == DType::kF32 ? 4 : 2));
}

__device__ inline float as_float(float value) { return value; }
__device__ inline float as_float(__nv_bfloat16 value) { return __bfloat162float(value); }

// kColumns columns of a row as they lie in memory, loaded before they are used so that several are under way.
// Rows are aligned and have a multiple of kColumns columns.
template <DType kType, int kColumns>
struct WholePiece {
  using Element = std::conditional_t<kType == DType::kF32, float, __nv_bfloat16>;
  static constexpr int kBytes = kColumns * static_cast<int>(sizeof(Element));
  using Word = std::conditional_t<kBytes == 8, uint2, uint4>;
  Word words[kBytes / sizeof(Word)];

  __device__ void load(const Activations& rows, std::int64_t row, std::int64_t column) {
    const auto* from = reinterpret_cast<const Word*>(static_cast<const Element*>(rows.data) + row * rows.stride + column);
#pragma unroll
    for (int i = 0; i < static_cast<int>(kBytes / sizeof(Word)); ++i) words[i] = __ldcg(from + i);
  }
  template <int kCount>
  __device__ Sums<kCount> columns() const {
    static_assert(kCount == kColumns);
    Sums<kColumns> out;
    const auto* elements = reinterpret_cast<const Element*>(words);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) out.value[i] = as_float(elements[i]);
    return out;
  }
};
// The same of any rows.
template <DType kType, int kColumns>
struct PartPiece {
  using Element = typename WholePiece<kType, kColumns>::Element;
  Element elements[kColumns];

  __device__ void load(const Activations& rows, std::int64_t row, std::int64_t column) {
    const auto* from = static_cast<const Element*>(rows.data) + row * rows.stride + column;
#pragma unroll
    for (int i = 0; i < kColumns; ++i) elements[i] = column + i < rows.cols ? from[i] : Element(0.0f);
  }
  template <int kCount>
  __device__ Sums<kCount> columns() const {
    Sums<kColumns> out;
#pragma unroll
    for (int i = 0; i < kColumns; ++i) out.value[i] = as_float(elements[i]);
    return out;
  }
};
template <class Piece, int kColumns>
__device__ inline Sums<kColumns> load_columns(const Activations& rows, std::int64_t row, std::int64_t column) {
  Piece piece;
  piece.load(rows, row, column);
  return piece.template columns<kColumns>();
}
// Of rows of either type.
template <int kColumns>
__device__ inline Sums<kColumns> load_out(const Activations& rows, std::int64_t row, std::int64_t column, bool wide) {
  const bool whole = wide && column + kColumns <= rows.cols;
  if (rows.dtype == DType::kF32) {
    return whole ? load_columns<WholePiece<DType::kF32, kColumns>, kColumns>(rows, row, column)
                 : load_columns<PartPiece<DType::kF32, kColumns>, kColumns>(rows, row, column);
  }
  return whole ? load_columns<WholePiece<DType::kBF16, kColumns>, kColumns>(rows, row, column)
               : load_columns<PartPiece<DType::kBF16, kColumns>, kColumns>(rows, row, column);
}

// Without rounding the product, which a compiler might do in one place and not in another: sums are those of one rank.
template <int kColumns>
__device__ inline void add(Sums<kColumns>& sums, float weight, const Sums<kColumns>& row) {
#pragma unroll
  for (int i = 0; i < kColumns; ++i) sums.value[i] = fmaf(weight, row.value[i], sums.value[i]);
}

__device__ inline uint4 pack(const Sums<4>& sums) {
  return {__float_as_uint(sums.value[0]), __float_as_uint(sums.value[1]), __float_as_uint(sums.value[2]), __float_as_uint(sums.value[3])};
}
__device__ inline uint4 pack(const Sums<8>& sums) {
  uint4 out;
  auto* pairs = reinterpret_cast<__nv_bfloat162*>(&out);
#pragma unroll
  for (int i = 0; i < 4; ++i) pairs[i] = __float22bfloat162_rn(float2{sums.value[2 * i], sums.value[2 * i + 1]});
  return out;
}
__device__ inline void unpack(const uint4& piece, Sums<4>& out) {
  out = {__uint_as_float(piece.x), __uint_as_float(piece.y), __uint_as_float(piece.z), __uint_as_float(piece.w)};
}
__device__ inline void unpack(const uint4& piece, Sums<8>& out) {
  const auto* pairs = reinterpret_cast<const __nv_bfloat162*>(&piece);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = __bfloat1622float2(pairs[i]);
    out.value[2 * i] = pair.x, out.value[2 * i + 1] = pair.y;
  }
}

template <int kColumns>
__device__ inline void store_columns(const Activations& rows, std::int64_t row, std::int64_t column, bool wide, const Sums<kColumns>& sums) {
  if (rows.dtype == DType::kF32) {
    float* to = static_cast<float*>(rows.data) + row * rows.stride + column;
    if (wide && column + kColumns <= rows.cols) {
#pragma unroll
      for (int i = 0; i < kColumns; i += 4) *reinterpret_cast<float4*>(to + i) = {sums.value[i], sums.value[i + 1], sums.value[i + 2], sums.value[i + 3]};
      return;
    }
#pragma unroll
    for (int i = 0; i < kColumns; ++i) {
      if (column + i < rows.cols) to[i] = sums.value[i];
    }
    return;
  }
  auto* to = static_cast<__nv_bfloat16*>(rows.data) + row * rows.stride + column;
  if constexpr (kColumns == 8) {
    if (wide && column + kColumns <= rows.cols) {
      *reinterpret_cast<uint4*>(to) = pack(sums);
      return;
    }
  }
#pragma unroll
  for (int i = 0; i < kColumns; ++i) {
    if (column + i < rows.cols) to[i] = __float2bfloat16_rn(sums.value[i]);
  }
}

}  // namespace braid::cuda
