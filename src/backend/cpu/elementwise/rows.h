// SPDX-License-Identifier: Apache-2.0
// Row-wise primitives, one table per instruction set. Plain pointers only: what is compiled for an
// instruction set shares no inline function with the rest. `bf16` says which type a void row has.
#pragma once

#include <cstdint>

namespace braid::cpu {

// One head of a query or key: optional RMSNorm (norm == nullptr: none), times scale, then the rotation
// of the first rope_dim elements by cos and sin of one position.
struct HeadRow {
  const float* x;
  int dim;
  const float* norm;
  float eps;
  const float* cos;
  const float* sin;
  int rope_dim;
  bool interleaved;
  float scale;
};

// ops/routing.h's Route::Problem without its types.
struct RouteRow {
  int experts;
  int top_k;
  int groups;
  int topk_groups;
  bool sigmoid;
  bool sum_of_top_two;
  bool normalise;
  float scale;
};
inline constexpr int kMaxRoutedExperts = 1024;

struct RowKernels {
  void (*convert)(const void* x, bool x_bf16, std::int64_t n, void* out, bool bf16);
  // out2 may be null.
  void (*rms_norm)(const float* x,
                   const float* weight,
                   float eps,
                   std::int64_t n,
                   void* out,
                   bool bf16,
                   float* out2);
  void (*head)(const HeadRow& head, void* out, bool bf16);
  void (*route)(const float* logits,
                const float* bias,
                const RouteRow& route,
                std::int32_t* ids,
                float* weights);
  // out[0, n) = or += sum over j of weights[j] * rows[slots[j] * stride ...].
  void (*combine)(const void* rows,
                  bool rows_bf16,
                  std::int64_t stride,
                  const std::int32_t* slots,
                  const float* weights,
                  int count,
                  void* out,
                  bool out_bf16,
                  std::int64_t n,
                  bool accumulate);
  // A group of ops/fp8_row.h: returns the scale; and back to bfloat16.
  float (*encode_fp8)(const float* x, int n, std::uint8_t* codes);
  void (*decode_fp8)(const std::uint8_t* codes, float scale, int n, std::uint16_t* out);
};

extern const RowKernels kScalarRows;
#if defined(__x86_64__)
extern const RowKernels kAvx2Rows;
extern const RowKernels kAvx512Rows;
#endif

}  // namespace braid::cpu
