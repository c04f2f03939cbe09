// SPDX-License-Identifier: Apache-2.0
// What a rank reaches its peers by.
#pragma once

#include <memory>
#include <string>

#include "app/settings.h"
#include "fabric/group.h"

namespace braid::app {

// Shared memory when all ranks are on this host; else that and UCX on the interface with `address`,
// which is this host's towards the leader.
Result<std::unique_ptr<fabric::Transport>> rank_transport(const ParallelSettings& settings, const std::string& address, Duration spin);

// Collective: measures the path to every peer and logs it; one that is much too slow is a warning.
Status report_paths(const ParallelSettings& settings, fabric::Bootstrap& bootstrap, fabric::Transport& transport);

}  // namespace braid::app
