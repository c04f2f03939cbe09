// SPDX-License-Identifier: Apache-2.0
// Network devices of this machine, by UCX's names ("eth0", "mlx5_0:1").
#pragma once

#include <string>

#include "base/result.h"

namespace braid::transport::ucx {

// The devices to use when this machine's address towards its peers is `address`: the interface that
// has it, and RDMA ports that are up. Waits some seconds for an interface that is not up yet. An
// error names the address.
Result<std::string> devices_for(const std::string& address);

// Bytes a second that the device of a lane ("tcp/eth0", "rc_mlx5/mlx5_0:1") is made for; 0: it does
// not say.
double rated(const std::string& lane);

}  // namespace braid::transport::ucx
