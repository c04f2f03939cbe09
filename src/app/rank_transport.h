// SPDX-License-Identifier: Apache-2.0
// What a rank reaches its peers by.
#pragma once

#include <memory>
#include <string>

#include "app/settings.h"
#include "fabric/group.h"
#include "model/config.h"
#include "tensor/device.h"
#include "transfer/node.h"

namespace braid::app {

// Processes with the same one can open each other's memory.
std::string host_identity(const ParallelSettings& settings);

// Shared memory when all ranks are on this host; else that and UCX on the interface with `address`,
// which is this host's towards the leader.
Result<std::unique_ptr<fabric::Transport>> rank_transport(const ParallelSettings& settings, const std::string& address, Duration spin);

// What the engine of this process exchanges keys and values over; null: the settings want none. Shared memory
// when kv_ip is of this host only; else that and UCX on the interface with this address.
Result<std::unique_ptr<transfer::Node>> transfer_node(const ServeSettings& settings, const model::Config& config, const Stream& stream, int rank);

// Collective: measures the path to every peer and logs it; one that is much too slow is a warning.
Status report_paths(const ParallelSettings& settings, fabric::Bootstrap& bootstrap, fabric::Transport& transport);

}  // namespace braid::app
