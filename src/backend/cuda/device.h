// SPDX-License-Identifier: Apache-2.0
// Finding a GPU, and turning the runtime's error codes into sentences.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "base/result.h"
#include "tensor/device.h"

namespace braid::cuda {

inline constexpr int kOldestCapability = 80;              // compute capability 8.0
inline constexpr std::size_t kLeastMemory = 1ull << 30;  // free bytes without which nothing is served

struct Gpu {
  int device = 0;
  std::string name;
  int capability = 0;  // 90 for 9.0
  int processors = 0;  // streaming multiprocessors
  std::size_t memory = 0;
  std::size_t shared_memory = 0;  // most of one block, opted in
};

// Makes the GPU current on this thread. Errors as make_stream().
Result<Gpu> open_gpu(int device);

// "cuda" and features: "sm_80", "sm_90a", those that the GPU can run.
Capabilities capabilities_of(const Gpu& gpu);

// What a call that ended in `code` means, after "what".
Error error_of(cudaError_t code, const std::string& what);

}  // namespace braid::cuda
