// SPDX-License-Identifier: Apache-2.0
// What the reference kernels share: element access by run-time type, and a support test that
// always says yes. Slow on purpose.
#pragma once

#include <cstdint>
#include <string>

#include "tensor/device.h"
#include "tensor/tensor.h"

namespace braid::ops::reference {

inline float load(const void* data, DType dtype, std::int64_t i) {
  if (dtype == DType::kBF16) return bf16_to_f32(static_cast<const std::uint16_t*>(data)[i]);
  return static_cast<const float*>(data)[i];
}

inline void store(void* data, DType dtype, std::int64_t i, float value) {
  if (dtype == DType::kBF16) {
    static_cast<std::uint16_t*>(data)[i] = f32_to_bf16(value);
  } else {
    static_cast<float*>(data)[i] = value;
  }
}

template <class Problem>
std::string always(const Problem&, const Capabilities&) {
  return {};
}

}  // namespace braid::ops::reference
