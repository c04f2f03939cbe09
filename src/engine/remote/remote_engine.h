// SPDX-License-Identifier: Apache-2.0
// The serving process's end of a rank: an Engine whose work is done by another process.
// Thread safety: every method from any thread. submit() waits for the rank, which admits the request
// then; metrics_text() waits too.
#pragma once

#include <memory>
#include <string>

#include "engine/engine.h"
#include "fabric/connection.h"

namespace braid::engine {

class RemoteEngine : public Engine {
 public:
  virtual std::string metrics_text() = 0;
  // Tells the rank's process to end. To be called when every rank is drained, because ranks that step
  // together need each other until then.
  virtual void exit() = 0;
};

// `connection` is past the rank's Ready. Requests in flight end with kError when it breaks, and
// `name` ("rank 3") stands in the message. `on_lost` is called once then, on a thread of its own.
std::unique_ptr<RemoteEngine> remote_engine(std::string name, std::unique_ptr<fabric::Connection> connection,
                                            std::int32_t max_model_len, std::function<void()> on_lost);

// The rank's end: serves `engine` over `connection` until kExit or until the connection breaks.
// Returns an error in the second case.
Status serve_remote(Engine& engine, fabric::Connection& connection, const std::function<std::string()>& metrics_text);

}  // namespace braid::engine
