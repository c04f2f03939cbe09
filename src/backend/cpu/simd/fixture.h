// SPDX-License-Identifier: Apache-2.0
// For tests of this backend's kernels: reproducible numbers of either type, and the kernels of a
// list that a test runs.
#pragma once

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "backend/cpu/backend.h"
#include "backend/cpu/simd/tier.h"

namespace braid::cpu {

// Owned rows of float32 or bfloat16.
struct TestRows {
  Buffer buffer;
  Activations view;

  TestRows(DType dtype, std::int64_t rows, std::int64_t cols, std::int64_t stride = 0)
      : buffer(static_cast<std::size_t>(rows * (stride ? stride : cols)) * size_of(dtype) + 64),
        view{buffer.data(), dtype, rows, cols, stride ? stride : cols} {}

  float at(std::int64_t r, std::int64_t c) const {
    if (view.dtype == DType::kBF16) {
      return bf16_to_f32(reinterpret_cast<const std::uint16_t*>(view.row(r))[c]);
    }
    return reinterpret_cast<const float*>(view.row(r))[c];
  }
  void set(std::int64_t r, std::int64_t c, float v) {
    if (view.dtype == DType::kBF16) {
      reinterpret_cast<std::uint16_t*>(view.row(r))[c] = f32_to_bf16(v);
    } else {
      reinterpret_cast<float*>(view.row(r))[c] = v;
    }
  }
  TestRows& fill(unsigned seed, float spread = 1.0f) {
    std::mt19937 engine(seed);
    for (std::int64_t r = 0; r < view.rows; ++r) {
      for (std::int64_t c = 0; c < view.cols; ++c) {
        set(r, c, (static_cast<float>(engine() >> 8) / float{1 << 24} * 2 - 1) * spread);
      }
    }
    return *this;
  }
  Matrix<float> f32() const { return {buffer.as<float>(), view.rows, view.cols, view.stride}; }
  Matrix<const float> cf32() const {
    return {buffer.as<float>(), view.rows, view.cols, view.stride};
  }
  std::vector<float> values() const {
    std::vector<float> all;
    for (std::int64_t r = 0; r < view.rows; ++r) {
      for (std::int64_t c = 0; c < view.cols; ++c) all.push_back(at(r, c));
    }
    return all;
  }
};

// The tier that this test binary emulates, on any machine; null: none.
extern const Tier* const kEmulated;

// All that this machine can run, or those of the emulated tier alone.
template <class Op>
std::vector<const ops::Kernel<Op>*> runnable(std::span<const ops::Kernel<Op>> list,
                                             const typename Op::Problem& problem,
                                             const Capabilities& caps) {
  Capabilities emulated{"cpu", {}};
  for (auto* f = kEmulated ? kEmulated->features : nullptr; f && *f; ++f) emulated.features.push_back(*f);
  std::vector<const ops::Kernel<Op>*> found;
  for (const auto& kernel : list) {
    const bool here = kEmulated ? kernel.rank == kEmulated->rank : kernel.rank > 0;
    if (here && kernel.supports(problem, kEmulated ? emulated : caps).empty()) found.push_back(&kernel);
  }
  return found;
}

}  // namespace braid::cpu
