// SPDX-License-Identifier: Apache-2.0
// --data-parallel-multi-port-external-lb: one launch, a server on its own port for every rank of this
// host, and one port more that speaks for all of them:
//
//   GET /health   200 while every server is alive (one that still starts is), else 503
//   GET /readyz   200 while every server takes requests, else 503
//
// Both answer with each rank's port and state. A server that ends is started again.
#pragma once

#include <signal.h>

#include "app/commands.h"
#include "app/settings.h"

namespace braid::app {

// Returns after one of the signals in `stop`, or when a server cannot start. The servers have ended then.
Status run_port_supervisor(const ServeSettings& settings, Words words, const sigset_t& stop);

}  // namespace braid::app
