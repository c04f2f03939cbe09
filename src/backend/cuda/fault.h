// SPDX-License-Identifier: Apache-2.0
// What a kernel says that gave up waiting for another rank: a record in pinned host memory, one a
// stream, read when the stream is waited for. No kernel traps.
#pragma once

#include <cstdint>

namespace braid::cuda {

enum class WaitSite : std::uint32_t { kTickets, kRows, kSort, kReturns };

struct Fault {
  std::uint32_t raised = 0;   // the rest is valid
  std::uint32_t abandon = 0;  // set by the host: waits end at once
  WaitSite site = WaitSite::kTickets;
  std::int32_t layer = 0;
  std::int32_t rank = 0;  // that waits
  std::int32_t peer = 0;  // that it waits for
  std::int32_t part = 0;  // piece or chunk
  std::uint32_t expected = 0;
  std::uint32_t seen = 0;
  std::uint64_t waited_ns = 0;
};

}  // namespace braid::cuda
