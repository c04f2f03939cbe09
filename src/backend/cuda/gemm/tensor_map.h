// SPDX-License-Identifier: Apache-2.0
// Tensor maps: how the copy engine finds boxes of a matrix in global memory.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "base/result.h"

namespace braid::cuda {

enum class Element { kByte, kBf16, kFloat };

struct BoxedMatrix {
  const char* name = "";       // for the error
  const void* data = nullptr;  // 16-byte aligned
  Element element = Element::kByte;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t stride = 0;  // elements from row to row; a multiple of 16 bytes
  int box_rows = 0;
  int box_columns = 0;
  int swizzle = 0;  // bytes: 0, 64 or 128
};

// Elements of a box outside the matrix are read as zero and not written.
Result<CUtensorMap> tensor_map(const BoxedMatrix& matrix);

}  // namespace braid::cuda
