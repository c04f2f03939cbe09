// SPDX-License-Identifier: Apache-2.0
// Hopper's GEMM: out[m, n] = sum over k of a[m, k] * w[n, k], bf16 out, float32 sums.
//
// kFp8:  a is e4m3 with a float32 scale per row and 128 inputs, w e4m3 with one per 128 x 128; the
//        products of 128 inputs are summed, scaled and added in float32.
// kBf16: a and w are bf16.
// Rows come in groups, each with weights of its own; how many, the device may have written last:
//   dense   one group with all rows
//   ragged  rows offsets[g] .. offsets[g + 1]; any starts, empty groups allowed
//   padded  rows g * pitch .. g * pitch + counts[g]
// Rows outside the groups are neither read into a result nor written.
// A row's result is bit for bit the same whatever the other rows and the chosen tiling.
// REQUIRES of sizes: k a multiple of 16 bytes, n of 8. Needs compute capability 9.0.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "backend/cuda/gemm/choose.h"
#include "backend/cuda/gemm/packed.h"
#include "base/result.h"

namespace braid::cuda {

// A problem with its tiling chosen and its kernel ready on the current device. Made once.
struct GemmPlan {
  GemmProblem problem;
  Tiling tiling;
  const void* kernel = nullptr;
  int shared_bytes = 0;
  int grid = 0;  // blocks
};

// `tiling` overrules the choice: an index into tilings(precision).
Result<GemmPlan> plan_gemm(const GemmProblem& problem, int tiling = -1);

struct GemmOperands {
  const void* activations = nullptr;  // [rows, k]
  const float* scales = nullptr;      // [k blocks, scale_stride(rows)] (kFp8)
  const std::uint8_t* weights = nullptr;  // as packed.h
  const float* weight_scales = nullptr;   // as packed.h (kFp8)
  void* out = nullptr;                    // [rows, n] bf16
  std::int64_t rows = 0;                  // of activations, scales and out, padding included

  const std::int32_t* offsets = nullptr;  // ragged: [groups + 1] on the device
  const std::int32_t* counts = nullptr;   // padded: [groups] on the device
  int pitch = 0;                          // padded: rows from one group to the next
};

// Activation scales are stored block of k after block of k, each with room for a multiple of 4 rows.
constexpr std::int64_t scale_stride(std::int64_t rows) { return (rows + 3) / 4 * 4; }

// Enqueues; reads nothing back. May be captured into a CUDA graph.
Status run_gemm(const GemmPlan& plan, const GemmOperands& operands, cudaStream_t stream);

// From a checkpoint's order to packed.h's, on the device. `values` is [groups, n, k]; `scales` is
// [groups, ceil(n / 128), ceil(k / 128)] (kFp8).
struct PackSource {
  const void* values = nullptr;
  const float* scales = nullptr;
};
Status pack_weights(const PackSource& source,
                    const PackedShape& shape,
                    std::uint8_t* weights,
                    float* weight_scales,
                    cudaStream_t stream);

}  // namespace braid::cuda
