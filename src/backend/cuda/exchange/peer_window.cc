// SPDX-License-Identifier: Apache-2.0
// Copies into other ranks' memory on a queue of their own, by the copy engines of the GPU.
#include <sched.h>

#include <string>
#include <utility>

#include "backend/cuda/exchange/peers.h"
#include "base/check.h"

namespace braid::cuda {
namespace {

class CopiedWindow final : public PeerWindow {
 public:
  explicit CopiedWindow(PeerMemory memory, const Gpu& gpu) : gpu_(gpu), memory_(std::move(memory)) {}
  ~CopiedWindow() override {
    if (queue_) cudaStreamSynchronize(queue_);
    if (done_) cudaEventDestroy(done_);
    if (queue_) cudaStreamDestroy(queue_);
  }

  Status open() {
    RETURN_IF_ERROR(status_of(cudaStreamCreateWithFlags(&queue_, cudaStreamNonBlocking), "making a stream"));
    return status_of(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming), "making an event");
  }

  std::string descriptor() const override { return memory_.descriptor(); }
  Status connect(std::span<const std::string> descriptors) override { return memory_.connect(descriptors); }
  const std::byte* data() const override { return memory_.own(); }

  Status put(int rank, std::size_t offset, const void* from, std::size_t bytes) override {
    CHECK(offset + bytes <= memory_.bytes());
    cudaSetDevice(gpu_.device);
    return status_of(cudaMemcpyAsync(memory_.memory()[static_cast<std::size_t>(rank)] + offset, from, bytes, cudaMemcpyDefault, queue_), "copying to another GPU");
  }

  Status flush(Duration timeout) override {
    cudaSetDevice(gpu_.device);
    RETURN_IF_ERROR(status_of(cudaEventRecord(done_, queue_), "recording an event"));
    const TimePoint deadline = std::chrono::steady_clock::now() + timeout;
    for (cudaError_t code = cudaEventQuery(done_); code != cudaSuccess; code = cudaEventQuery(done_)) {
      if (code != cudaErrorNotReady) return status_of(code, "copying to another GPU");
      if (std::chrono::steady_clock::now() > deadline) {
        return Error{ErrorCode::kDeadlineExceeded, "GPU " + std::to_string(gpu_.device) + " has not copied to the others within " +
                     std::to_string(to_seconds(timeout)) + " s", {}};
      }
      sched_yield();
    }
    return {};
  }

 private:
  static Status status_of(cudaError_t code, const char* what) { return code == cudaSuccess ? Status() : Status(error_of(code, what)); }

  const Gpu gpu_;
  PeerMemory memory_;
  cudaStream_t queue_ = nullptr;
  cudaEvent_t done_ = nullptr;
};

}  // namespace

Result<std::unique_ptr<PeerWindow>> make_peer_window(const Gpu& gpu, std::size_t bytes) {
  ASSIGN_OR_RETURN(PeerMemory memory, PeerMemory::create(gpu, bytes));
  auto window = std::make_unique<CopiedWindow>(std::move(memory), gpu);
  RETURN_IF_ERROR(window->open());
  return std::unique_ptr<PeerWindow>(std::move(window));
}

}  // namespace braid::cuda
