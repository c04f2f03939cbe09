// SPDX-License-Identifier: Apache-2.0
// The rotary embedding of one element, as ops::RopeTable defines it.
#pragma once

#include "ops/elementwise.h"

namespace braid::cuda {

// Element i of the rotated x; element(j) reads x.
template <class Element>
__device__ inline float rotated(const Element& element, int i, const ops::RopeTable& rope, std::int32_t position) {
  const int half = rope.dim / 2;
  const int pair = rope.interleaved ? i / 2 : i % half;
  const bool second = rope.interleaved ? i % 2 == 1 : i >= half;
  const float c = rope.cos[static_cast<std::int64_t>(position) * half + pair];
  const float s = rope.sin[static_cast<std::int64_t>(position) * half + pair];
  const float a = element(rope.interleaved ? 2 * pair : pair);
  const float b = element(rope.interleaved ? 2 * pair + 1 : pair + half);
  return second ? b * c + a * s : a * c - b * s;
}

}  // namespace braid::cuda
