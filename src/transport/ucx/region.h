// SPDX-License-Identifier: Apache-2.0
// Memory that peers write to by messages, and their order.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <unordered_map>

#include "fabric/transport.h"
#include "transport/ucx/message.h"

namespace braid::transport::ucx {

// What a region's peers have sent. Thread rules: word() from any thread, the rest under one lock.
class Inbox {
 public:
  explicit Inbox(std::span<std::byte> memory) : memory_(memory) {}
  std::uint64_t word(int word) const { return words_[static_cast<std::size_t>(word)].load(std::memory_order_acquire); }

  // Applies the records of a message once all earlier ones of its stream are; keeps them until then.
  // False: they are malformed, or outside the memory.
  bool take(const Head& head, std::span<const std::byte> payload);
  void forget(std::uint64_t stream) { streams_.erase(stream); }

 private:
  struct Stream {
    std::uint64_t next = 0;
    std::map<std::uint64_t, std::string> early;
  };
  bool apply(std::span<const std::byte> payload);

  const std::span<std::byte> memory_;
  std::array<std::atomic<std::uint64_t>, fabric::kSignalWords> words_{};
  std::unordered_map<std::uint64_t, Stream> streams_;
};

}  // namespace braid::transport::ucx
