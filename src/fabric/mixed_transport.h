// SPDX-License-Identifier: Apache-2.0
// A transport that reaches every peer by the better of two: ranks of the same host by one, those of
// other hosts by the other. Both work on the same memory.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "fabric/transport.h"

namespace braid::fabric {

// A transport that can serve memory which another one has.
class FarTransport : public Transport {
 public:
  // `memory` outlives the region. `changed` is called after every signal, on any thread, and must not
  // call the transport.
  virtual Result<std::unique_ptr<Region>> adopt(std::span<std::byte> memory, std::function<void()> changed) = 0;
};

// Ranks with the same `host` must reach each other by `near`.
std::unique_ptr<Transport> mixed_transport(std::unique_ptr<Transport> near, std::unique_ptr<FarTransport> far, std::string host);

}  // namespace braid::fabric
