// SPDX-License-Identifier: Apache-2.0
// Weights with the bytes of a real checkpoint's and reproducible values, for benchmarks.
#pragma once

#include <vector>

#include "ops/weight.h"

namespace braid::cpu {

struct WeightsLike {
  Buffer values;
  std::vector<float> scales;
  std::vector<std::uint8_t> exponents;
  ops::Weight weight;

  // kF8 and kI8 start from e4m3 with 128 x 128 scales, kF4 from MXFP4, the others from their own type.
  WeightsLike(ops::WeightFormat format, std::int64_t n, std::int64_t k) {
    const DType dtype = format == ops::WeightFormat::kF32    ? DType::kF32
                        : format == ops::WeightFormat::kBF16 ? DType::kBF16
                        : format == ops::WeightFormat::kF4   ? DType::kF4E2M1
                                                             : DType::kF8E4M3;
    values = Buffer(bytes_of(dtype, n * k));
    std::uint32_t state = 1;
    for (std::int64_t i = 0; i < n * k; ++i) {
      state = state * 1664525u + 1013904223u;
      const float v = static_cast<float>(state >> 8) / static_cast<float>(1 << 24) - 0.5f;
      if (dtype == DType::kF32) values.as<float>()[i] = v;
      if (dtype == DType::kBF16) values.as<std::uint16_t>()[i] = f32_to_bf16(v);
      if (dtype == DType::kF8E4M3) values.as<std::uint8_t>()[i] = static_cast<std::uint8_t>(state >> 24 & 0xb7);
      if (dtype == DType::kF4E2M1) values.as<std::uint8_t>()[i / 2] = static_cast<std::uint8_t>(state >> 24);
    }
    TensorView scale_view;
    if (dtype == DType::kF4E2M1) {
      exponents.assign(static_cast<std::size_t>(n * k / 32), 120);
      scale_view = {exponents.data(), DType::kE8M0, {n, k / 32}};
      weight = ops::Weight(TensorView{values.data(), dtype, {n, k}}, scale_view, 32);
      return;
    }
    if (dtype == DType::kF8E4M3) {
      const std::int64_t rows = (n + 127) / 128;
      const std::int64_t cols = (k + 127) / 128;
      scales.assign(static_cast<std::size_t>(rows * cols), 0.01f);
      scale_view = {scales.data(), DType::kF32, {rows, cols}};
    }
    weight = ops::Weight(TensorView{values.data(), dtype, {n, k}}, scale_view);
  }
};

}  // namespace braid::cpu
