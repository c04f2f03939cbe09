// SPDX-License-Identifier: Apache-2.0
// A queue for kernels that run beside those of a stream, on multiprocessors that the stream's large kernels leave them.
// Thread rules: those of the stream. May be recorded with what the stream does.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/cuda/stream.h"

namespace braid::cuda {

class Beside {
 public:
  // `stream` outlives it.
  explicit Beside(Stream& stream);
  ~Beside();
  Beside(const Beside&) = delete;
  Beside& operator=(const Beside&) = delete;

  // Where to launch what begins when the stream's work before this call is done, between begin() and end().
  cudaStream_t begin();
  void end();
  // The stream's next work begins when that is done.
  void join();

 private:
  Stream& stream_;
  cudaStream_t queue_ = nullptr;
  cudaEvent_t ready_ = nullptr, done_ = nullptr;
  bool running_ = false;
};

}  // namespace braid::cuda
