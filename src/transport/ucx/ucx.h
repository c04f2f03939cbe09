// SPDX-License-Identifier: Apache-2.0
// Memory of ranks on different hosts, over UCX: TCP, and RDMA where there is any.
//
// Writes and signals gather in a buffer of their handle and travel as one message with the next signal,
// or when the buffer is full; a thread of the receiving process puts them in place and wakes whoever
// waits. Transfers that are prepared are one-sided, but for reads over TCP, which the owner answers
// (transport/ucx/reads.h). The library is opened when the transport is made.
//
// UCX listens on the interface of Options::address only. What it receives is applied to a region if it
// carries the region's token, which travels in descriptors, that is over authenticated connections. UCX
// itself does not authenticate: the network between the hosts must be private.
#pragma once

#include <memory>
#include <string>

#include "fabric/mixed_transport.h"

namespace braid::transport::ucx {

struct Options {
  std::string address = "127.0.0.1";  // of this machine, towards the peers
  Duration spin = std::chrono::microseconds(20);
  // A peer that was not heard of for so long is dead, and a send that does not move on for so long fails.
  Duration dead_after = std::chrono::seconds(2);
  Duration connect_time = std::chrono::seconds(20);
};

Result<std::unique_ptr<fabric::FarTransport>> transport(const Options& options);

}  // namespace braid::transport::ucx
