// SPDX-License-Identifier: Apache-2.0
// Takes the place of the backend in builds without it.
#include "backend/cuda/backend.h"

namespace braid::cuda {

Result<std::unique_ptr<braid::Stream>> make_stream(int) {
  return Error{ErrorCode::kUnimplemented,
               "this build has no CUDA backend; build one with `make cuda`, or use --device cpu", "device"};
}

Peaks measure_peaks(braid::Stream&) { return {}; }
Links measure_links(braid::Stream&) { return {}; }

const ops::KernelLists& kernels() {
  static const ops::KernelLists none;
  return none;
}

}  // namespace braid::cuda
