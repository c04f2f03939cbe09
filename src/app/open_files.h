// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/resource.h>

namespace braid::app {

// Lets the process have as many files and sockets open as its hard limit allows.
inline void open_files_as_many_as_allowed() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace braid::app
