// SPDX-License-Identifier: Apache-2.0
// Device memory that the processes of one host map into each other, through CUDA's inter-process handles.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/cuda/device.h"

namespace braid::cuda {

class PeerMemory {
 public:
  // Zeroed memory of `gpu`, which becomes current on this thread.
  static Result<PeerMemory> create(const Gpu& gpu, std::size_t bytes);
  PeerMemory(PeerMemory&& other) noexcept;
  PeerMemory& operator=(PeerMemory&&) = delete;
  // Peers must not use the memory any more.
  ~PeerMemory();

  std::string descriptor() const;
  // Maps the memory of the others: one descriptor of each rank, the own one too. Errors: a rank on
  // another host, or on a GPU that this one does not reach.
  Status connect(std::span<const std::string> descriptors);

  // As this device sees them, by rank.
  std::span<std::byte* const> memory() const { return mapped_; }
  std::byte* own() const { return own_; }
  std::size_t bytes() const { return bytes_; }

 private:
  PeerMemory(const Gpu& gpu, std::byte* own, std::size_t bytes) : gpu_(gpu), own_(own), bytes_(bytes) {}
  Result<std::byte*> map(const std::string& descriptor);
  Status reach(const std::string& bus) const;

  Gpu gpu_;
  std::byte* own_ = nullptr;
  std::size_t bytes_ = 0;
  std::vector<std::byte*> mapped_;
  std::vector<std::byte*> opened_;  // to be closed again
};

// Memory of the same kind that copies write, not kernels.
Result<std::unique_ptr<PeerWindow>> make_peer_window(const Gpu& gpu, std::size_t bytes);

}  // namespace braid::cuda
