// SPDX-License-Identifier: Apache-2.0
// The GPU's Stream: one CUDA stream, device and pinned memory, and the first error that a call met.
//
// Kernels receive a braid::Stream& and call cuda::stream(s). They launch on queue() unless failed(),
// and hand the launch's return code to check().
#pragma once

#include <cuda_runtime_api.h>

#include <optional>
#include <string>

#include "backend/cuda/device.h"

namespace braid::cuda {

class Stream final : public braid::Stream {
 public:
  explicit Stream(const Gpu& gpu);
  ~Stream() override;

  const Capabilities& capabilities() const override { return capabilities_; }
  int workers() const override { return gpu_.processors; }
  bool unified() const override { return false; }
  Buffer allocate(std::size_t bytes) override;
  Buffer allocate_host(std::size_t bytes) override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  Status wait() override;
  std::int64_t available_memory() const override;

  const Gpu& gpu() const { return gpu_; }
  cudaStream_t queue() const { return queue_; }
  // A call before failed: do nothing.
  bool failed() const { return error_.has_value(); }
  // Keeps the first failure; `what` names the operation.
  void check(cudaError_t code, const char* what);

 private:
  const Gpu gpu_;
  const Capabilities capabilities_;
  cudaStream_t queue_ = nullptr;
  cudaEvent_t done_ = nullptr;
  std::optional<Error> error_;
};

inline Stream& stream(braid::Stream& s) { return static_cast<Stream&>(s); }

}  // namespace braid::cuda
