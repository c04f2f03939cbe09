// SPDX-License-Identifier: Apache-2.0
// Shared memory between processes of one host. A region is an anonymous memory file that peers open
// through /proc/<pid>/fd, so nothing has a name and nothing stays behind, however a process ends.
// Waiting spins for a moment and then sleeps on a futex in the region that waits.
// Errors: a peer of another user or PID namespace cannot be opened; the message says so.
#pragma once

#include <memory>

#include "fabric/transport.h"

namespace braid::transport::shm {

struct Options {
  // How long a wait spins before it sleeps; zero where there are more ranks than cores.
  Duration spin = std::chrono::microseconds(50);
};

std::unique_ptr<fabric::Transport> transport(const Options& options);

}  // namespace braid::transport::shm
