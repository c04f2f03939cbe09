// SPDX-License-Identifier: Apache-2.0
// What becomes of a vector of gates and the ups that match them, for any vector type of ../simd.
#pragma once

#include "backend/cpu/gemm/micro.h"
#include "backend/cpu/simd/math.h"

namespace {

// Outputs [column, column + V::kWidth).
template <class V>
inline typename V::F gated(const braid::cpu::MicroArgs& a, std::int64_t column, typename V::F gate,
                           typename V::F up) {
  if (a.glu.bias && column < a.n) {
    const int count = part<V>(a.n, column);
    gate = V::add(gate, load_row<V>(a.glu.bias, false, column, count));
    up = V::add(up, load_row<V>(a.glu.bias, false, a.n + column, count));
  }
  gate = V::min(V::set1(a.glu.limit), gate);
  up = V::max(V::set1(-a.glu.limit), V::min(V::set1(a.glu.limit), up));
  const auto open = V::mul(gate, sigmoid_of<V>(V::mul(V::set1(a.glu.alpha), gate)));
  return V::mul(open, V::add(up, V::set1(a.glu.up_offset)));
}

}  // namespace
