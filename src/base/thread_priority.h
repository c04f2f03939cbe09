// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/resource.h>

namespace braid {

// The calling thread gets about a tenth of a processor that others want too, and never takes it from them
// by waking up. For work that may take its time.
inline void lower_this_threads_priority() { setpriority(PRIO_PROCESS, 0, 10); }

}  // namespace braid
