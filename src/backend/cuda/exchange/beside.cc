// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/exchange/beside.h"

namespace braid::cuda {

Beside::Beside(Stream& stream) : stream_(stream) {
  stream_.check(cudaStreamCreateWithFlags(&queue_, cudaStreamNonBlocking), "making a stream");
  stream_.check(cudaEventCreateWithFlags(&ready_, cudaEventDisableTiming), "making an event");
  stream_.check(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming), "making an event");
}

Beside::~Beside() {
  if (queue_) cudaStreamSynchronize(queue_);
  if (running_) stream_.gemms().take_back();
  if (ready_) cudaEventDestroy(ready_);
  if (done_) cudaEventDestroy(done_);
  if (queue_) cudaStreamDestroy(queue_);
}

cudaStream_t Beside::begin() {
  stream_.check(cudaEventRecord(ready_, stream_.queue()), "recording an event");
  stream_.check(cudaStreamWaitEvent(queue_, ready_, 0), "waiting for an event");
  return queue_;
}

void Beside::end() {
  stream_.check(cudaEventRecord(done_, queue_), "recording an event");
  if (!running_) stream_.gemms().lend();
  running_ = true;
}

void Beside::join() {
  if (!running_) return;
  running_ = false;
  stream_.gemms().take_back();
  stream_.check(cudaStreamWaitEvent(stream_.queue(), done_, 0), "waiting for an event");
}

}  // namespace braid::cuda
