// SPDX-License-Identifier: Apache-2.0
// The device that the golden models run on: golden_test is linked with the CPU's, golden_cuda_test
// with the GPU's.
#pragma once

#include <memory>
#include <vector>

#include "ops/backend.h"

namespace braid {

struct TestDevice {
  std::unique_ptr<Stream> stream;
  const ops::KernelLists* kernels = nullptr;
  std::vector<const char*> tiers;  // of kernels to run the models with, as ops::ForcedKernels names them
  std::vector<const char*> modes;  // of lexicon-30m: float32, bfloat16, int8, fp8, fp8_cache
};

TestDevice open_test_device();

}  // namespace braid
