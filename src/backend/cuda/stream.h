// SPDX-License-Identifier: Apache-2.0
// The GPU's Stream: one CUDA stream, device and pinned memory, graphs of repeated work, and the first
// error that a call met.
//
// Kernels receive a braid::Stream& and call cuda::stream(s). They launch on queue() unless failed(),
// and hand the launch's return code to check().
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>

#include "backend/cuda/device.h"
#include "backend/cuda/fault.h"
#include "backend/cuda/gemm/gemm.h"

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
  Status repeat(std::uint64_t key, const std::function<Status()>& work) override;
  Status wait() override;
  std::int64_t available_memory() const override;
  std::int64_t total_memory() const override { return static_cast<std::int64_t>(gpu_.memory); }
  Result<std::unique_ptr<PeerWindow>> peer_window(std::size_t bytes) override;
  Status trim() override;

  const Gpu& gpu() const { return gpu_; }
  cudaStream_t queue() const { return queue_; }
  // A call before failed: do nothing.
  bool failed() const { return error_.has_value(); }
  // Kernels that wait for other ranks give up once lost() is true, which wait() asks now and then.
  void give_up_when(std::function<bool()> lost) { lost_ = std::move(lost); }
  // Where kernels tell that they gave up waiting for a rank.
  Fault* fault() const { return fault_.as<Fault>(); }
  // Keeps the first failure; `what` names the operation.
  void check(cudaError_t code, const char* what);
  void check(const Status& status);
  // Memory for what passes between the kernels of one call; void when another call asks. Grows, and stays.
  std::byte* scratch(std::size_t bytes);
  GemmPlans& gemms() { return gemms_; }

 private:
  // Makes the GPU current on the calling thread; every step begins with a copy, so kernels find it so.
  void use() const;

  const Gpu gpu_;
  const Capabilities capabilities_;
  cudaStream_t queue_ = nullptr;
  cudaEvent_t done_ = nullptr;
  std::optional<Error> error_;
  std::function<bool()> lost_;
  Buffer fault_;
  void take_fault();
  Buffer scratch_;
  GemmPlans gemms_;

  // A sequence of kernels: run once, then captured as a graph, then launched as one.
  struct Recording {
    std::uint64_t seen_at = 0;  // allocations when it was run, 0: never
    std::uint64_t made_at = 0;  // and when it was captured
    cudaGraphExec_t graph = nullptr;
  };
  Status record(Recording& recording, const std::function<Status()>& work);
  std::uint64_t allocations_ = 1;
  std::unordered_map<std::uint64_t, Recording> recordings_;
};

inline Stream& stream(braid::Stream& s) { return static_cast<Stream&>(s); }

}  // namespace braid::cuda
