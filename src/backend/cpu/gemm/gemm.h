// SPDX-License-Identifier: Apache-2.0
// The matrix kernels of this backend, lowest tier first.
#pragma once

#include <vector>

#include "backend/cpu/gemm/micro.h"
#include "backend/cpu/stream.h"
#include "ops/grouped_mlp.h"
#include "ops/linear.h"

namespace braid::cpu {

std::vector<ops::Kernel<ops::Linear>> linear_kernels();
std::vector<ops::Kernel<ops::GroupedMlp>> grouped_mlp_kernels();

inline const Micro& micro_of(const MicroTier& tier, ops::WeightFormat format) {
  return tier.micro[static_cast<int>(format)];
}

// Activation rows as a micro-kernel reads them.
struct KernelRows {
  const unsigned char* data = nullptr;
  std::int64_t stride = 0;  // bytes
};

// Bytes from one converted row of `k` elements to the next.
std::int64_t row_bytes(const Micro& micro, std::int64_t k);

// `rows` itself where its type and layout allow, else a converted copy in the caller's scratch,
// which holds until the next call. Columns [0, k) of each row; `batch` entries `batch_stride`
// elements apart become rows [b * rows + m].
KernelRows kernel_rows(const Micro& micro, const Activations& x, std::int64_t k,
                       std::int64_t batch, std::int64_t batch_stride, Stream& stream);

}  // namespace braid::cpu
