// SPDX-License-Identifier: Apache-2.0
// Listens to the KV events of all endpoints over ZeroMQ, on a thread of its own, and asks for replays.
//
// Each endpoint is dialled at the configured port plus its rank, whatever its topic; with a central
// socket engines connect to us, and the topic says who speaks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "router/endpoint.h"
#include "router/kv_feed.h"

namespace braid::gateway {

struct KvMessage {
  enum class Kind { kLive, kReplayed, kReplayEnd };
  Kind kind = Kind::kLive;
  std::string source;  // the endpoint's name, or what its topic says
  std::uint64_t sequence = 0;
  std::string payload;
};

// Thread safety: every method from any thread; none waits.
class KvSubscriber {
 public:
  // Called on the subscriber's thread, never after the subscriber's end.
  using Deliver = std::function<void(std::vector<KvMessage>)>;
  // Errors: ZeroMQ is not installed, the central socket cannot be bound.
  static Result<std::unique_ptr<KvSubscriber>> start(const router::KvFeedSettings& settings, Deliver deliver);
  virtual ~KvSubscriber() = default;

  // Those to listen to from now on.
  virtual void follow(std::vector<router::EndpointId> endpoints) = 0;
  // A replay ends with one kReplayEnd: when the engine says so, when nothing has come for 2 s, or after
  // 2 min.
  virtual void replay(const router::ReplayRequest& request) = 0;
};

}  // namespace braid::gateway
