// SPDX-License-Identifier: Apache-2.0
// Weights as the kernels of this folder read them: rows of `row_stride` elements in the GPU's memory,
// zeros behind the last input. kF8 has a float32 scale for each row and block of 128 inputs; a weight
// whose own scales don't fit that (transposed windows, other block sizes) and MXFP4, which bfloat16 holds
// exactly, are widened to bfloat16; the PackedWeight says so.
#pragma once

#include <span>
#include <vector>

#include "ops/weight.h"
#include "tensor/device.h"

namespace braid::cuda {

// Row `row` of a window; null: zeros.
struct PackedRow {
  const ops::Weight* weight = nullptr;
  std::int64_t row = 0;
};

std::int64_t row_stride(std::int64_t k);
std::int64_t scale_blocks(std::int64_t k);

// rows.size() = batch * n, all of k inputs.
ops::PackedWeight pack(std::span<const PackedRow> rows, ops::WeightFormat format, std::int64_t n, std::int64_t k,
                       std::int64_t batch, Stream& stream);

DType dtype_of(ops::WeightFormat format);
// The k inputs of a row as `to`: kF32, kBF16, or kF8E4M3 without their scales.
void write_row(const PackedRow& from, DType to, std::int64_t k, std::byte* out);
// Whether a row can stay e4m3 with a scale for each 128 inputs.
bool keeps_f8(const PackedRow& row);

// All rows of the parts, one part after another.
std::vector<PackedRow> rows_of(std::span<const ops::Weight> parts);
// Rows of gate and up in turns of `turn`, each filled up with zeros to a multiple of `unit`.
std::vector<PackedRow> alternate(const ops::Weight& gate, const ops::Weight& up, std::int64_t turn, std::int64_t unit);

}  // namespace braid::cuda
