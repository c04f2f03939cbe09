// SPDX-License-Identifier: Apache-2.0
// The layout of a shared region and the futex calls on its bell.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "fabric/transport.h"

namespace braid::transport::shm {

struct Header {
  std::uint64_t magic;
  std::uint64_t nonce;  // tells a region from one of a later process with the same numbers
  std::uint64_t bytes;  // after the header
  alignas(64) std::atomic<std::uint32_t> bell;  // counts signals and rings; the futex
  std::atomic<std::uint32_t> sleepers;
  std::atomic<std::uint32_t> released;
  alignas(64) std::atomic<std::uint64_t> words[fabric::kSignalWords];
};
inline constexpr std::size_t kHeaderBytes = (sizeof(Header) + 4095) / 4096 * 4096;

// A mapping of header and memory.
class Mapping {
 public:
  static Result<std::unique_ptr<Mapping>> create(std::size_t bytes);
  static Result<std::unique_ptr<Mapping>> open(std::string_view descriptor);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  Header& header() const { return *static_cast<Header*>(base_); }
  std::byte* memory() const { return static_cast<std::byte*>(base_) + kHeaderBytes; }
  std::size_t bytes() const { return header().bytes; }
  std::string descriptor() const;
  // Whether the owner still has it; asks the kernel when it is another process.
  bool owner_alive() const;

 private:
  Mapping(void* base, std::size_t length, int fd, int owner_fd) : base_(base), length_(length), fd_(fd), owner_fd_(owner_fd) {}

  void* base_;
  std::size_t length_;
  int fd_;        // of the memory file, in the owner
  int owner_fd_;  // of the owner's process, elsewhere; -1: this process
};

void ring(Header& header);
// Sleeps while the bell is `seen`, at most until `until`.
void sleep_on(Header& header, std::uint32_t seen, TimePoint until);

}  // namespace braid::transport::shm
