// SPDX-License-Identifier: Apache-2.0
// Sends cache events to whoever subscribes, over ZeroMQ as vLLM does.
//
//   publication  PUB     [topic, sequence number, batch]; numbers are 8 bytes, big-endian, and count up from 0
//   replay       ROUTER  asked [empty, first number], it answers [empty, number, batch] for each batch that it
//                        still has from there on, and at the end [empty, -1, empty]
//
// A subscriber that sees a gap in the numbers, or connects late, asks for a replay.
// Thread safety: publish() from any thread; it never waits.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "events/encode.h"
#include "events/settings.h"

namespace braid::events {

// The address of a rank: that of rank 0 with its port raised. An error when it has no number as port.
Result<std::string> address_of(const std::string& endpoint, int rank);

class Publisher {
 public:
  virtual ~Publisher() = default;  // what waits is still sent
  // One batch. Lost, with its number, when too many wait.
  virtual void publish(std::vector<kv::CacheEvent> events) = 0;
  // Where the sockets are bound, or what they are connected to; empty without a replay.
  virtual std::string endpoint() const = 0;
  virtual std::string replay_endpoint() const = 0;
};

// REQUIRES: settings.enabled().
Result<std::unique_ptr<Publisher>> publisher(const Settings& settings, int block_size, int rank);

}  // namespace braid::events
