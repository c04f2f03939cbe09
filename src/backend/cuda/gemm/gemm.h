// SPDX-License-Identifier: Apache-2.0
// Hopper's GEMM: out[m, n] = sum over k of a[m, k] * w[n, k], float32 sums.
//
// kFp8:  a is e4m3 with a float32 scale per row and 128 inputs, w e4m3 with one per 128 x 128; the
//        products of 128 inputs are summed, scaled and added in float32.
// kBf16: a and w are bf16.
// Rows come in groups, each with weights of its own, which may differ in n and k; how many rows, the
// device may have written last:
//   dense   one group with all rows
//   ragged  rows offsets[g] .. offsets[g + 1]; any starts, empty groups allowed
//   padded  rows g * pitch .. g * pitch + counts[g]
// Rows outside the groups are neither read into a result nor written.
// A row's result is bit for bit the same whatever the other rows and the chosen tiling.
// out is bf16 or float32, the latter added to what is there if asked.
// REQUIRES of the problem's sizes: k a multiple of 16 bytes, n of 8. Needs compute capability 9.0.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <map>
#include <span>
#include <utility>

#include "backend/cuda/gemm/choose.h"
#include "backend/cuda/gemm/packed.h"
#include "base/result.h"
#include "tensor/tensor.h"

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

// Plans for one GPU; asks the driver once for each kernel.
class GemmPlans {
 public:
  explicit GemmPlans(int processors) : processors_(processors) {}
  Result<GemmPlan> plan(const GemmProblem& problem);
  // Between both calls plans take kLentProcessors multiprocessors less; they nest.
  void lend() { ++lent_; }
  void take_back() { --lent_; }

 private:
  const int processors_;
  int lent_ = 0;
  std::map<std::pair<Precision, int>, GemmPlan> made_;
};

// The weights of one group, [n, k] packed as packed.h; n and k at most the problem's.
struct GemmWeight {
  const std::uint8_t* values = nullptr;
  const float* scales = nullptr;  // kFp8
  int n = 0;                      // 0: the group's rows are passed over
  int k = 0;
};

inline constexpr int kMostGemmGroups = 512;
// Left to kernels of another queue while they may run.
inline constexpr int kLentProcessors = 16;

struct GemmOperands {
  const void* activations = nullptr;    // [rows, k], 16-byte aligned
  std::int64_t stride = 0;              // of them, elements; a multiple of 16 bytes
  const float* scales = nullptr;        // [k blocks, scale_stride(rows)] (kFp8)
  std::span<const GemmWeight> weights;  // of each group, kMostGemmGroups at most
  Activations out;                      // [rows, n], of any stride
  bool accumulate = false;              // out += instead of out =; float32 only
  std::int64_t rows = 0;                // of activations, scales and out, padding included

  const std::int32_t* offsets = nullptr;  // ragged: [groups + 1] on the device
  const std::int32_t* counts = nullptr;   // padded: [groups] on the device
  int pitch = 0;                          // padded: rows from one group to the next
};

// Activation scales are stored block of k after block of k, each with room for a multiple of 4 rows.
constexpr std::int64_t scale_stride(std::int64_t rows) { return (rows + 3) / 4 * 4; }

// Enqueues; reads nothing back. May be captured into a CUDA graph.
Status run_gemm(const GemmPlan& plan, const GemmOperands& operands, cudaStream_t stream);

// From a checkpoint's order to packed.h's, on the device. `values` is [groups, n, k]; `scales` is
// [groups, ceil(n / scale_rows), ceil(k / 128)] (kFp8), scale_rows being 128 or 64.
struct PackSource {
  const void* values = nullptr;
  const float* scales = nullptr;
  int scale_rows = kTileOutputs;
};
Status pack_weights(const PackSource& source,
                    const PackedShape& shape,
                    std::uint8_t* weights,
                    float* weight_scales,
                    cudaStream_t stream);

}  // namespace braid::cuda
