// SPDX-License-Identifier: Apache-2.0
// The serving process's end of a rank: an Engine whose work is done by another process.
// Thread safety: every method from any thread. submit() does not wait for the rank, which admits the
// request later: a refusal is a message with kError. metrics_text() and timeline() wait.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "engine/engine.h"
#include "fabric/connection.h"

namespace braid::engine {

class ControlMembership;

class RemoteEngine : public Engine {
 public:
  virtual std::string metrics_text() = 0;
  // Of the rank's newest steps, as base/timeline.h writes them; empty when it is lost.
  virtual std::string timeline() = 0;
  // Tells the rank's process to end. To be called when every rank is drained, because ranks that step
  // together need each other until then.
  virtual void exit() = 0;
  // Sends a frame; lost when the rank is.
  virtual void tell(std::uint8_t type, const std::string& payload) = 0;
  // Breaks with the rank: it is lost from now on.
  virtual void disconnect() = 0;
};

// Called on a thread of the engine.
struct RemoteEvents {
  // kReady, kGather, kFormed. A refused frame breaks the connection.
  std::function<bool(const fabric::Frame&)> on_control;
  // Once: the connection broke, or the rank gave no sign of life. Its requests hear no more.
  std::function<void(const std::string& reason)> on_lost;
};

// `name` ("rank 3") stands in messages. After its Ready, a rank that sends nothing for `silence` is
// lost.
std::unique_ptr<RemoteEngine> remote_engine(std::string name, std::unique_ptr<fabric::Connection> connection,
                                            Duration silence, RemoteEvents events);

// What a rank tells of itself; called on the thread that serves.
struct Reports {
  std::function<std::string()> metrics;
  std::function<std::string()> timeline;
};

// The rank's end: serves `engine` over `connection` until kExit or until the connection breaks.
// Returns an error in the second case. `membership`: hears of groups; null: there are none.
Status serve_remote(Engine& engine, fabric::Connection& connection, const Reports& reports,
                    ControlMembership* membership = nullptr);

}  // namespace braid::engine
