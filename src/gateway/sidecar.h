// SPDX-License-Identifier: Apache-2.0
// The proxy in front of a decode server, as llm-d's routing sidecar: a request whose header
// x-prefiller-host-port names prefillers is prefilled there first (gateway/transfer_bodies.h) and then
// decoded here; everything else passes through.
//
// A prefiller that cannot be reached or answers 502, 503 or 504 is followed by the next of the list. When
// none is left the client gets the last one's answer, or 503 with Retry-After: never a decode that
// prefills in silence.
#pragma once

#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "gateway/settings.h"

namespace braid::gateway {

// Thread safety: every method from any thread but the sidecar's own.
class Sidecar {
 public:
  static Result<std::unique_ptr<Sidecar>> start(const SidecarSettings& settings);
  virtual ~Sidecar() = default;  // ends what is left at once

  virtual std::vector<int> ports() const = 0;  // of rank 0, 1, ...
  virtual void drain(Duration timeout) = 0;
};

}  // namespace braid::gateway
