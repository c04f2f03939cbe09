// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/stream.h"

#include <chrono>
#include <cstring>
#include <utility>

#include "backend/cuda/backend.h"
#include "backend/cuda/exchange/peers.h"

namespace braid::cuda {
namespace {

// A step of the largest model takes seconds; a kernel that hangs takes for ever.
constexpr auto kLongestWait = std::chrono::seconds(120);

// How often a wait asks whether the ranks that kernels wait for are lost.
constexpr auto kLookAtRanks = std::chrono::milliseconds(5);

const char* name_of(WaitSite site) {
  switch (site) {
    case WaitSite::kTickets: return "tickets of a dispatch, piece";
    case WaitSite::kRows: return "rows of a dispatch, chunk";
    case WaitSite::kSort: return "sorting a dispatch, part";
    case WaitSite::kReturns: return "results, chunk";
  }
  return "a message, part";
}

Error error_of(const Fault& fault) {
  const std::string waited = std::to_string(fault.waited_ns / 1'000'000'000) + "." + std::to_string(fault.waited_ns / 100'000'000 % 10) + " s";
  return {fault.abandon ? ErrorCode::kUnavailable : ErrorCode::kDeadlineExceeded,
          "rank " + std::to_string(fault.rank) + " waits for rank " + std::to_string(fault.peer) + " in layer " + std::to_string(fault.layer) +
              " on its GPU (" + name_of(fault.site) + " " + std::to_string(fault.part) + ": expected " + std::to_string(fault.expected) +
              ", seen " + std::to_string(fault.seen) + "): " + (fault.abandon ? "the group is given up" : "nothing came within " + waited), {}};
}

void release_device(std::byte* data, std::size_t) { cudaFree(data); }
void release_pinned(std::byte* data, std::size_t) { cudaFreeHost(data); }

}  // namespace

Stream::Stream(const Gpu& gpu) : gpu_(gpu), capabilities_(capabilities_of(gpu)), gemms_(gpu.processors) {
  check(cudaStreamCreateWithFlags(&queue_, cudaStreamNonBlocking), "making a stream");
  check(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming), "making an event");
  fault_ = allocate_host(sizeof(Fault));
}

Stream::~Stream() {
  for (auto& [key, recording] : recordings_) {
    if (recording.graph) cudaGraphExecDestroy(recording.graph);
  }
  if (done_) cudaEventDestroy(done_);
  if (queue_) cudaStreamDestroy(queue_);
}

void Stream::check(cudaError_t code, const char* what) {
  if (code == cudaSuccess || error_) return;
  error_ = error_of(code, std::string(what) + " on GPU " + std::to_string(gpu_.device));
  cudaGetLastError();
}

void Stream::check(const Status& status) {
  if (!status.ok() && !error_) error_ = status.error();
}

std::byte* Stream::scratch(std::size_t bytes) {
  if (scratch_.size() < bytes) {
    scratch_ = {};
    scratch_ = allocate(bytes + bytes / 8);
  }
  return scratch_.data();
}

void Stream::use() const {
  thread_local int current = -1;
  if (current == gpu_.device) return;
  cudaSetDevice(gpu_.device);
  current = gpu_.device;
}

Buffer Stream::allocate(std::size_t bytes) {
  use();
  void* data = nullptr;
  if (bytes == 0 || failed()) return {};
  ++allocations_;
  const std::string what = "taking " + std::to_string(bytes >> 20) + " MiB";
  check(cudaMalloc(&data, bytes), what.c_str());
  if (!data) return {};
  check(cudaMemsetAsync(data, 0, bytes, queue_), "clearing memory");
  return {static_cast<std::byte*>(data), bytes, release_device};
}

Buffer Stream::allocate_host(std::size_t bytes) {
  void* data = nullptr;
  if (bytes == 0 || failed()) return {};
  const std::string what = "taking " + std::to_string(bytes >> 20) + " MiB of pinned host memory";
  check(cudaHostAlloc(&data, bytes, cudaHostAllocDefault), what.c_str());
  if (!data) return {};
  std::memset(data, 0, bytes);
  return {static_cast<std::byte*>(data), bytes, release_pinned};
}

void Stream::copy(void* to, const void* from, std::size_t bytes) {
  use();
  if (bytes == 0 || failed()) return;
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, queue_), "copying memory");
}

Status Stream::repeat(std::uint64_t key, const std::function<Status()>& work) {
  Recording& recording = recordings_[key];
  if (recording.graph && recording.made_at == allocations_) {
    if (!failed()) check(cudaGraphLaunch(recording.graph, queue_), "replaying a step");
    return {};
  }
  if (recording.seen_at == allocations_ && !failed()) return record(recording, work);
  const Status status = work();
  recording.seen_at = allocations_;
  return status;
}

Status Stream::record(Recording& recording, const std::function<Status()>& work) {
  if (recording.graph) cudaGraphExecDestroy(std::exchange(recording.graph, nullptr));
  check(cudaStreamBeginCapture(queue_, cudaStreamCaptureModeThreadLocal), "recording a step");
  const Status status = work();
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(queue_, &graph), "recording a step");
  if (status.ok() && !failed()) check(cudaGraphInstantiate(&recording.graph, graph, 0), "recording a step");
  if (graph) cudaGraphDestroy(graph);
  recording.made_at = allocations_;
  if (recording.graph && !failed()) check(cudaGraphLaunch(recording.graph, queue_), "replaying a step");
  return status;
}

Status Stream::wait() {
  use();
  check(cudaEventRecord(done_, queue_), "recording an event");
  auto look = std::chrono::steady_clock::now();
  const auto deadline = look + kLongestWait;
  while (!failed()) {
    const cudaError_t code = cudaEventQuery(done_);
    if (code == cudaSuccess) break;
    if (code != cudaErrorNotReady) check(code, "a kernel");
    const auto now = std::chrono::steady_clock::now();
    if (lost_ && fault() && now > look) {
      look = now + kLookAtRanks;
      if (lost_()) *static_cast<volatile std::uint32_t*>(&fault()->abandon) = 1;
    }
    if (code == cudaErrorNotReady && now > deadline) check(cudaErrorLaunchTimeout, "waiting 120 s for the kernels");
  }
  take_fault();
  if (!error_) return {};
  return *std::exchange(error_, std::nullopt);
}

// What a kernel of before wrote down; none is running.
void Stream::take_fault() {
  if (!fault()) return;
  if (fault()->raised && !error_) error_ = error_of(*fault());
  *fault() = {};
}

Result<std::unique_ptr<PeerWindow>> Stream::peer_window(std::size_t bytes) { return make_peer_window(gpu_, bytes); }

Status Stream::trim() {
  const Status done = wait();
  scratch_ = {};
  ++allocations_;
  return done;
}

std::int64_t Stream::available_memory() const {
  std::size_t free = 0, total = 0;
  return cudaMemGetInfo(&free, &total) == cudaSuccess ? static_cast<std::int64_t>(free) : 0;
}

Result<std::unique_ptr<braid::Stream>> make_stream(int device) {
  ASSIGN_OR_RETURN(const Gpu gpu, open_gpu(device));
  auto stream = std::make_unique<Stream>(gpu);
  RETURN_IF_ERROR(stream->wait());
  return std::unique_ptr<braid::Stream>(std::move(stream));
}

}  // namespace braid::cuda
