// SPDX-License-Identifier: Apache-2.0
#include "ops/weight.h"

#include <utility>

#include "base/check.h"

namespace braid::ops {

Weight Weight::window(std::int64_t n0, std::int64_t n, std::int64_t k0, std::int64_t k) const {
  CHECK(n0 >= 0 && k0 >= 0 && n0 + n <= rows && k0 + k <= cols);
  Weight part = *this;
  part.row_offset += transposed ? k0 : n0;
  part.col_offset += transposed ? n0 : k0;
  part.rows = n;
  part.cols = k;
  return part;
}

Weight Weight::transpose() const {
  Weight turned = *this;
  turned.transposed = !transposed;
  std::swap(turned.rows, turned.cols);
  return turned;
}

const char* name_of(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32: return "float32";
    case WeightFormat::kBF16: return "bfloat16";
    case WeightFormat::kF8: return "fp8";
    case WeightFormat::kI8: return "int8";
    case WeightFormat::kF4: return "mxfp4";
  }
  return "unknown";
}

}  // namespace braid::ops
