// SPDX-License-Identifier: Apache-2.0
// For tests of the reference: a stream without workers, and reproducible numbers.
#pragma once

#include <random>
#include <vector>

#include "ops/reference.h"

namespace braid::ops::reference {

class NoStream final : public Stream {
 public:
  const Capabilities& capabilities() const override { return capabilities_; }
  int workers() const override { return 1; }

 private:
  Capabilities capabilities_{"cpu", {}};
};

inline std::vector<float> random_values(std::size_t count, unsigned seed, float spread = 1.0f) {
  std::mt19937 engine(seed);
  std::vector<float> values(count);
  for (auto& v : values) {
    v = (static_cast<float>(engine() >> 8) / static_cast<float>(1 << 24) * 2 - 1) * spread;
  }
  return values;
}

inline Activations f32(std::vector<float>& values, std::int64_t rows, std::int64_t cols) {
  return {values.data(), DType::kF32, rows, cols, cols};
}

}  // namespace braid::ops::reference
