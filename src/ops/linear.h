// SPDX-License-Identifier: Apache-2.0
// linear: y[b, m, n] = x[b, m, k] * W[b, n, k]^T + bias[b, n], accumulated in float32.
//
// x is kF32 or kBF16, y is kF32 or kBF16. With format kF8, products of one 128-input block are
// summed before their scale is applied. Batch-invariant: row m's result does not depend, bit for
// bit, on the other rows or on the number of workers.
#pragma once

#include <span>

#include "ops/kernel.h"
#include "ops/weight.h"

namespace braid::ops {

struct Linear {
  static constexpr const char* kName = "linear";

  struct Problem {
    DType x = DType::kBF16;
    WeightFormat format = WeightFormat::kBF16;
    std::int64_t n = 0;
    std::int64_t k = 0;
    std::int64_t batch = 1;
    bool f8_activations = false;  // kF8: inputs may be rounded to e4m3, with a scale for each row and 128 of them
    bool bias = false;            // calls bring one
  };

  struct Args {
    const PackedWeight* weight = nullptr;
    Activations x;  // [m, k] of batch 0
    Activations y;  // [m, n] of batch 0
    std::int64_t x_batch_stride = 0;  // elements from one batch entry to the next
    std::int64_t y_batch_stride = 0;
    bool accumulate = false;  // y += instead of y =; kF32 only
    const float* bias = nullptr;  // [batch, n]; null without Problem::bias; y is kF32
  };

  // Packs batch * parts.size() / batch windows: parts of one batch entry are stacked along n, and
  // parts are ordered by batch entry. All have the same k. Element types may differ from `format`.
  using Prepare = PackedWeight (*)(std::span<const Weight> parts, const Problem&, Stream&);
};

}  // namespace braid::ops
