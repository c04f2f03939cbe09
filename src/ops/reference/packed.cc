// SPDX-License-Identifier: Apache-2.0
#include "ops/reference/packed.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "ops/reference/element.h"

namespace braid::ops::reference {
namespace {

DType stored(WeightFormat format) {
  return format == WeightFormat::kBF16 ? DType::kBF16 : DType::kF32;
}

}  // namespace

void through_int8(std::vector<float>& row) {
  for (std::size_t first = 0; first < row.size(); first += 128) {
    const std::size_t end = std::min(row.size(), first + 128);
    float largest = 0;
    for (std::size_t i = first; i < end; ++i) largest = std::max(largest, std::fabs(row[i]));
    const float scale = largest / 127.0f;
    for (std::size_t i = first; i < end && scale > 0; ++i) {
      row[i] = std::clamp(std::nearbyint(row[i] / scale), -127.0f, 127.0f) * scale;
    }
  }
}

PackedWeight pack(std::span<const Weight> parts,
                  WeightFormat format,
                  std::int64_t n,
                  std::int64_t k,
                  std::int64_t batch) {
  PackedWeight packed;
  packed.format = format;
  packed.n = n;
  packed.k = k;
  packed.batch = batch;
  const DType dtype = stored(format);
  packed.data = Buffer(static_cast<std::size_t>(batch * n * k) * size_of(dtype));
  std::int64_t row = 0;
  for (const Weight& part : parts) {
    CHECK(part.cols == k, "parts of one weight have different widths");
    for (std::int64_t r = 0; r < part.rows; ++r, ++row) {
      CHECK(row < batch * n, "more rows than the weight has");
      std::vector<float> values(static_cast<std::size_t>(k));
      for (std::int64_t c = 0; c < k; ++c) values[c] = part.at(r, c);
      if (format == WeightFormat::kI8) through_int8(values);
      for (std::int64_t c = 0; c < k; ++c) store(packed.data.data(), dtype, row * k + c, values[c]);
    }
  }
  CHECK(row == batch * n, "fewer rows than the weight has");
  return packed;
}

float element(const PackedWeight& weight, std::int64_t batch, std::int64_t n, std::int64_t k) {
  return load(weight.data.data(), stored(weight.format), (batch * weight.n + n) * weight.k + k);
}

}  // namespace braid::ops::reference
