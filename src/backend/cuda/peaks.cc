// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/backend.h"
#include "backend/cuda/stream.h"

namespace braid::cuda {
namespace {

constexpr std::size_t kCopy = std::size_t{1} << 30;
constexpr int kCopies = 10;

double bandwidth(Stream& s) {
  const Buffer from = s.allocate(kCopy), to = s.allocate(kCopy);
  cudaEvent_t begin, end;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  s.copy(to.data(), from.data(), kCopy);
  cudaEventRecord(begin, s.queue());
  for (int i = 0; i < kCopies; ++i) s.copy(to.data(), from.data(), kCopy);
  cudaEventRecord(end, s.queue());
  float ms = 0;
  if (s.wait().ok()) cudaEventElapsedTime(&ms, begin, end);
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return ms > 0 ? 2.0 * kCopy * kCopies / (ms * 1e-3) : 0;
}

}  // namespace

Peaks measure_peaks(braid::Stream& stream) {
  Stream& s = cuda::stream(stream);
  int kilohertz = 0;
  cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, s.gpu().device);
  const double each_cycle = s.gpu().capability >= 90 ? 4096 : 2048;  // of one multiprocessor
  return {each_cycle * s.gpu().processors * kilohertz * 1e3, bandwidth(s)};
}

}  // namespace braid::cuda
