// SPDX-License-Identifier: Apache-2.0
// The row-wise operations of this backend: the reference and one kernel per instruction set.
// Many rows are shared among the workers; few are done at once by the caller.
#pragma once

#include <vector>

#include "ops/backend.h"

namespace braid::cpu {

struct ElementwiseKernels {
  std::vector<ops::Kernel<ops::Embed>> embed;
  std::vector<ops::Kernel<ops::RmsNorm>> rms_norm;
  std::vector<ops::Kernel<ops::MlaStore>> mla_store;
  std::vector<ops::Kernel<ops::MlaQuery>> mla_query;
  std::vector<ops::Kernel<ops::MlaGather>> mla_gather;
  std::vector<ops::Kernel<ops::GqaPrepare>> gqa_prepare;
  std::vector<ops::Kernel<ops::Route>> route;
  std::vector<ops::Kernel<ops::Arrange>> arrange;
  std::vector<ops::Kernel<ops::Combine>> combine;
};

ElementwiseKernels elementwise_kernels();

}  // namespace braid::cpu
