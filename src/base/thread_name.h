// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pthread.h>

namespace braid {

// What top -H, gdb and perf call the calling thread; at most 15 bytes.
inline void name_this_thread(const char* name) { pthread_setname_np(pthread_self(), name); }

}  // namespace braid
