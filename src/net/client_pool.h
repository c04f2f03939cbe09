// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 calls to any number of servers from one event loop, over connections that are kept alive
// and reused. What a server sends is handed on as it comes; nothing is collected.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "net/event_loop.h"
#include "net/http_message.h"

namespace braid::net {

struct PoolRequest {
  std::string host;  // a name, or an address without brackets
  int port = 80;
  std::string method = "GET";
  std::string target = "/";
  std::vector<Header> headers;  // beside host and content-length
  bool streams_body = false;    // send() and end_body() bring it, on a connection of its own
  std::optional<std::uint64_t> body_length;  // of one that streams; unknown: it goes in chunks
  std::string_view body;        // valid until the head of the answer has come or the call has ended
  Duration connect_timeout = std::chrono::seconds(10);
  Duration silence_timeout = std::chrono::seconds(600);  // longest time without a byte from the server
  Duration timeout = std::chrono::seconds(600);          // until the last byte of the answer
};

// All callbacks run on the loop's thread and must not block. After on_done nothing comes.
struct ClientHandlers {
  std::function<void(const std::vector<Header>& headers)> on_early;  // of interim answers (1xx), before the head
  std::function<void(int status, const std::vector<Header>& headers)> on_head;
  std::function<void(std::string_view data)> on_data;  // decoded body bytes as they come
  std::function<void()> on_writable;                   // of a body that streams: all that was given is sent
  std::function<void(Status status)> on_done;          // an Error: no (complete) answer
};

struct ClientPoolOptions {
  int max_connections = 65536;  // to one server; more calls wait for one
  std::size_t max_idle = 1024;  // kept to one server
  Duration idle_timeout = std::chrono::seconds(30);  // less than that of the servers
};

// A kept connection that its server has closed meanwhile is noticed before it is used, or else the
// call is made again on a new one, if no byte of an answer has come.
// Thread rules: the loop's thread only, the destructor too.
class ClientPool {
 public:
  static std::unique_ptr<ClientPool> create(std::shared_ptr<EventLoop> loop, const ClientPoolOptions& options = {});
  virtual ~ClientPool() = default;  // ends all calls without further callbacks

  using CallId = std::uint64_t;
  virtual CallId start(PoolRequest request, ClientHandlers handlers) = 0;

  // Closes the call's connection; on_done tells kCancelled before this returns. Unknown ids are ignored.
  virtual void cancel(CallId call) = 0;

  // Stops reading the answer, and goes on. A paused call's silence is its reader's.
  virtual void pause(CallId call) = 0;
  virtual void resume(CallId call) = 0;

  // The next piece of a body that streams, and its end. None is given before the first on_writable:
  // till then the call can fail without having sent anything. Returns the bytes that are not sent yet;
  // who can wait stops when they become many, and goes on at on_writable.
  virtual std::size_t send(CallId call, std::string_view data) = 0;
  virtual void end_body(CallId call) = 0;

  virtual int connections() const = 0;  // in use
};

}  // namespace braid::net
