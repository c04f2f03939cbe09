// SPDX-License-Identifier: Apache-2.0
// Rows as Hopper's GEMM reads them: bfloat16, or e4m3 with a float32 scale for each row and 128 inputs.
#pragma once

#include "backend/cuda/gemm/gemm.h"
#include "backend/cuda/stream.h"
#include "ops/grouped_mlp.h"

namespace braid::cuda {

// Gate and up of one group lie in turns of so many columns, each filled up to a multiple of kGateUnit.
inline constexpr int kGateTurn = 64;
inline constexpr int kGateUnit = 128;

// The GEMM's operand and how it lies in memory: [rows, stride] values, then the scales. There are zeros
// behind the inputs up to a multiple of 16.
struct FedRows {
  FedRows(Precision precision, std::int64_t rows, std::int64_t columns);

  std::size_t bytes() const { return scales_at() + static_cast<std::size_t>(blocks() * scale_stride(rows)) * sizeof(float); }
  std::size_t scales_at() const { return static_cast<std::size_t>(rows * stride * element_bytes(precision) + 127) / 128 * 128; }
  std::int64_t blocks() const { return precision == Precision::kFp8 ? (columns + 127) / 128 : 0; }

  Precision precision;
  std::int64_t rows, columns;
  std::int64_t stride;  // elements
};

// Row r is row row_token[r] of x, or row r without row_token.
void gather_rows(const Activations& x, const std::int32_t* row_token, const FedRows& to, std::byte* at, Stream& stream);

// The activations of each row, for the groups of a call: group g owns rows [offsets[g], offsets[g + 1]) and
// has inter[g] columns, written up to a multiple of kGateUnit.
struct GatedRows {
  const void* gate_up = nullptr;  // [rows, stride] bfloat16, gate and up in turns
  std::int64_t stride = 0;
  const std::int32_t* offsets = nullptr;
  std::span<const GemmWeight> down;  // whose k is the group's inter
  std::span<const float* const> bias;  // of a group's gate, then of its up; null: none
  ops::Glu glu;
};
void activate_rows(const GatedRows& from, const FedRows& to, std::byte* at, Stream& stream);

}  // namespace braid::cuda
