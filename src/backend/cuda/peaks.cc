// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/backend.h"
#include "backend/cuda/stream.h"

namespace braid::cuda {
namespace {

constexpr std::size_t kInside = std::size_t{1} << 30, kAcross = std::size_t{256} << 20;
constexpr int kCopies = 10;

// Bytes a second of copies of `bytes`, after one that does not count.
template <class Copy>
double rate(Stream& s, std::size_t bytes, const Copy& copy) {
  cudaEvent_t begin = nullptr, end = nullptr;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  copy();
  cudaEventRecord(begin, s.queue());
  for (int i = 0; i < kCopies; ++i) copy();
  cudaEventRecord(end, s.queue());
  float ms = 0;
  if (s.wait().ok()) cudaEventElapsedTime(&ms, begin, end);
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return ms > 0 ? static_cast<double>(bytes) * kCopies / (ms * 1e-3) : 0;
}

double bandwidth(Stream& s) {
  const Buffer from = s.allocate(kInside), to = s.allocate(kInside);
  return rate(s, 2 * kInside, [&] { s.copy(to.data(), from.data(), kInside); });
}

// To another GPU; 0 when that has no room.
Links::Peer measure_peer(Stream& s, const std::byte* from, int device) {
  const int own = s.gpu().device;
  Links::Peer peer{device};
  int direct = 0;
  cudaDeviceCanAccessPeer(&direct, own, device);
  peer.direct = direct != 0;
  void* to = nullptr;
  cudaSetDevice(device);
  const bool room = cudaMalloc(&to, kAcross) == cudaSuccess;
  cudaSetDevice(own);
  if (room) {
    if (peer.direct) cudaDeviceEnablePeerAccess(device, 0);
    peer.bandwidth = rate(s, kAcross, [&] { cudaMemcpyPeerAsync(to, device, from, own, kAcross, s.queue()); });
    cudaFree(to);
  }
  cudaGetLastError();  // no room, or access that was there before
  return peer;
}

}  // namespace

Peaks measure_peaks(braid::Stream& stream) {
  Stream& s = cuda::stream(stream);
  int kilohertz = 0;
  cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, s.gpu().device);
  const double each_cycle = s.gpu().capability >= 90 ? 4096 : 2048;  // of one multiprocessor
  return {each_cycle * s.gpu().processors * kilohertz * 1e3, bandwidth(s)};
}

Links measure_links(braid::Stream& stream) {
  Stream& s = cuda::stream(stream);
  const Buffer here = s.allocate(kAcross), host = s.allocate_host(kAcross);
  Links links;
  if (!here.data() || !host.data()) return links;
  links.to_gpu = rate(s, kAcross, [&] { s.copy(here.data(), host.data(), kAcross); });
  links.from_gpu = rate(s, kAcross, [&] { s.copy(host.data(), here.data(), kAcross); });
  int devices = 0;
  cudaGetDeviceCount(&devices);
  for (int device = 0; device < devices; ++device) {
    if (device == s.gpu().device) continue;
    const auto peer = measure_peer(s, here.data(), device);
    if (peer.bandwidth > 0) links.peers.push_back(peer);
  }
  return links;
}

}  // namespace braid::cuda
