// SPDX-License-Identifier: Apache-2.0
// A weight matrix as a checkpoint stores it, seen through a window: what kernels pack from.
//
// Logical element (n, k) is output n, input k, n < rows, k < cols. Without `transposed` it is
// stored element (row_offset + n, col_offset + k), with it (row_offset + k, col_offset + n).
// Block-quantised FP8 (DeepSeek's format): stored element (r, c) is multiplied by
// scales[r / block][c / block]; the last row and column of blocks may be smaller. MXFP4 (OCP): the
// same with blocks of one row and 32 columns, scales being powers of two.
#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace braid::ops {

struct Weight {
  TensorView values;  // [stored rows, stored cols]; kF32, kBF16, kF16, kF8E4M3 or kF4E2M1
  TensorView scales;  // data == nullptr when there are none; kF32, kBF16 or kE8M0
  int block = 128;       // columns of a block of one scale
  int block_rows = 128;  // and rows
  std::int64_t row_offset = 0;
  std::int64_t col_offset = 0;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  bool transposed = false;

  Weight() = default;
  explicit Weight(TensorView v, TensorView s = {}, int b = 128)
      : values(std::move(v)), scales(std::move(s)), block(b), block_rows(values.dtype == DType::kF4E2M1 ? 1 : b),
        rows(values.rows()), cols(values.cols()) {}

  bool scaled() const { return scales.data != nullptr; }
  std::int64_t stored(std::int64_t n, std::int64_t k) const {
    return transposed ? (row_offset + k) * values.cols() + col_offset + n
                      : (row_offset + n) * values.cols() + col_offset + k;
  }
  float scale(std::int64_t n, std::int64_t k) const {
    if (!scaled()) return 1.0f;
    const std::int64_t r = row_offset + (transposed ? k : n);
    const std::int64_t c = col_offset + (transposed ? n : k);
    return scales.at((r / block_rows) * scales.cols() + c / block);
  }
  // Dequantised element; slow.
  float at(std::int64_t n, std::int64_t k) const { return values.at(stored(n, k)) * scale(n, k); }

  // The window of this window with outputs [n0, n0 + n) and inputs [k0, k0 + k).
  Weight window(std::int64_t n0, std::int64_t n, std::int64_t k0, std::int64_t k) const;
  Weight transpose() const;
};

// How packed weights are held in memory and multiplied.
enum class WeightFormat {
  kF32,     // float32 (also the router's)
  kBF16,    // bfloat16
  kF8,      // e4m3 with a float32 scale per output and 128 inputs; exact
  kI8,      // int8 requantised per output and 128 inputs; opt-in, changes results
  kF4,      // e2m1 with an e8m0 scale per output and 32 inputs; exact
};
const char* name_of(WeightFormat format);

// Weights after a kernel's prepare(): opaque to everybody else.
struct PackedWeight {
  WeightFormat format = WeightFormat::kF32;
  std::int64_t n = 0;
  std::int64_t k = 0;
  std::int64_t batch = 1;
  Buffer data;
  Buffer scales;
  std::size_t bytes() const { return data.size() + scales.size(); }
};

}  // namespace braid::ops
