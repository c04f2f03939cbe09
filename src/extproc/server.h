// SPDX-License-Identifier: Apache-2.0
// Envoy's external processing as a gRPC server, with gRPC's health service beside it. gRPC has threads
// of its own; everything here happens on the event loop that is given.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "extproc/messages.h"
#include "net/event_loop.h"

namespace braid::extproc {

// One HTTP request in Envoy, to be told what becomes of it. Calls after the stream has ended do nothing.
// Thread rules: the loop's thread only.
class Stream {
 public:
  virtual ~Stream() = default;
  // In this order. Several at once cost less than one by one.
  virtual void reply(std::vector<Reply> replies) = 0;
  virtual void answer(Answer answer) = 0;  // the last
};

// Who processes it. Thread rules: called on the loop's thread.
class Processor {
 public:
  virtual ~Processor() = default;
  virtual void on_message(Message message) = 0;
  virtual void on_closed() = 0;  // the last call: by Envoy, after an answer, or because the connection broke
};
using MakeProcessor = std::function<std::shared_ptr<Processor>(std::shared_ptr<Stream>)>;

struct ServerOptions {
  std::string host = "0.0.0.0";
  int port = 0;         // 0: any free port
  int health_port = 0;  // of a second server with the health service alone, without TLS; 0: none
  bool tls = false;
  // Folder with tls.crt and tls.key, read again when they change. Empty: TLS with a certificate made at
  // the start, which clients can't verify.
  std::string certificates;
};

// Health is told of "", "liveness", "readiness", "inference-extension" and the processor's service name.
// Thread safety: every method from any thread but the loop's own.
class Server {
 public:
  // Errors: a port in use, certificates that can't be read.
  static Result<std::unique_ptr<Server>> start(std::shared_ptr<net::EventLoop> loop, const ServerOptions& options, MakeProcessor make);
  virtual ~Server() = default;  // ends all streams at once

  virtual int port() const = 0;
  virtual int health_port() const = 0;
  // Not ready: all services but liveness say NOT_SERVING. Callable on the loop too. Begins not ready.
  virtual void set_ready(bool ready) = 0;
  // Takes no more streams, lets those that are open end until `timeout`.
  virtual void shutdown(Duration timeout) = 0;
};

}  // namespace braid::extproc
