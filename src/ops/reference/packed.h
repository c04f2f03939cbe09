// SPDX-License-Identifier: Apache-2.0
// How the reference holds weights: row-major [batch, n, k], bfloat16 for kBF16 and dequantised
// float32 for every other format. kI8 weights went through int8 with a scale per output and 128
// inputs, and rows multiplied by them through int8 with a scale per 128 elements.
#pragma once

#include <span>
#include <vector>

#include "ops/weight.h"

namespace braid::ops::reference {

// Parts as in ops/linear.h.
PackedWeight pack(std::span<const Weight> parts,
                  WeightFormat format,
                  std::int64_t n,
                  std::int64_t k,
                  std::int64_t batch);

// Element (n, k) of a batch entry.
float element(const PackedWeight& weight, std::int64_t batch, std::int64_t n, std::int64_t k);

// Rounds every block of 128 to multiples of its largest magnitude / 127.
void through_int8(std::vector<float>& row);

}  // namespace braid::ops::reference
