// SPDX-License-Identifier: Apache-2.0
// The CUDA backend's kernels, operation by operation.
#include "backend/cuda/backend.h"

namespace braid::cuda {

const ops::KernelLists& kernels() {
  static const ops::KernelLists lists;
  return lists;
}

}  // namespace braid::cuda
