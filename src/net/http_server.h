// SPDX-License-Identifier: Apache-2.0
// An asynchronous HTTP/1.1 server on one I/O thread: keep-alive, pipelining, chunked
// streams, limits on everything that a client can send, timeouts for slow and vanished clients.
//
//   request bytes -> Handler(Request, ResponseWriter)  [I/O thread]
//                    (a body that streams comes through Request::stream, and holds nothing here)
//   any thread    -> ResponseWriter                    [writes on the I/O thread, in order]
//   any thread    -> HttpServer::post(work)            [runs on the I/O thread]
//
// Requests of one connection are handled one after the other, in order. What is written to a
// connection while one piece of posted work runs leaves in one write.
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

// Answers one request: send() once, or begin() then any number of write() then end().
// Thread rules: send, early, begin, write, end and the destructor from any thread, one at a time; open and
// on_close on the I/O thread. Calls after the connection is gone, or after the answer is complete,
// do nothing. A writer that is destroyed with no answer answers 500. Outlived by its server.
class ResponseWriter {
 public:
  virtual ~ResponseWriter() = default;

  virtual void send(Response response) = 0;

  // Before the answer: the headers of an interim one, 103, to a client that has asked for it. Others may not
  // understand it. Nothing with HTTP/1.0.
  virtual void early(std::vector<Header> headers) = 0;

  // Starts a stream; `head.body` is its first data.
  virtual void begin(Response head) = 0;
  virtual void write(std::string data) = 0;
  virtual void end() = 0;

  // Closes the connection, so that the client sees that the answer is not whole. On the I/O thread,
  // as the two below; on_close is not called.
  virtual void abort() = 0;

  // Bytes written that the kernel has not taken yet. A producer that can wait stops when they become
  // many, and goes on when on_drained calls it, once, after all are gone.
  virtual std::size_t buffered() const = 0;
  virtual void on_drained(std::function<void()> callback) = 0;

  // False when the client is gone or the answer is complete.
  virtual bool open() const = 0;

  // Called once, on the I/O thread, if the connection ends before the answer is complete: the
  // client left (half-closing counts), does not read, or the server stops.
  virtual void on_close(std::function<void()> callback) = 0;
};

// The body of a request as it comes. Nothing is read from the client before start() and while paused.
// If the client goes before the end, ResponseWriter::on_close tells, and nothing more comes here; an
// answer that is complete before the body is ends the connection.
// Thread rules: the I/O thread only.
class BodyReader {
 public:
  virtual ~BodyReader() = default;
  virtual std::optional<std::uint64_t> length() const = 0;  // if the client tells
  virtual void start(std::function<void(std::string_view data)> on_data, std::function<void()> on_end) = 0;
  virtual void pause() = 0;
  virtual void resume() = 0;
};

// Called on the I/O thread; must not block. The writer may be kept and used later, elsewhere too.
using Handler = std::function<void(Request&& request, std::shared_ptr<ResponseWriter> writer)>;

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  int port = 0;  // 0: any free port
  std::size_t max_body_bytes = 16u << 20;  // of a body that does not stream
  // Which bodies stream, by method, target and headers. Null: none.
  std::function<bool(const Request& head)> streams;
  std::size_t max_header_bytes = 64u << 10;
  int max_headers = 256;
  int max_connections = 4096;               // more are answered 503 and closed
  std::size_t max_buffered_bytes = 4u << 20;  // unread stream data; more drops the client
  Duration header_timeout = std::chrono::seconds(20);  // from a request's first byte to its headers
  Duration body_timeout = std::chrono::seconds(60);    // from the headers to the last byte; between two reads of one that streams
  Duration idle_timeout = std::chrono::seconds(75);    // between requests
  Duration write_timeout = std::chrono::seconds(30);   // without any progress of a write
};

// Thread safety: every method may be called from any thread but the I/O thread; post from any, and
// from the I/O thread it runs `work` at once.
class HttpServer {
 public:
  // Binds, listens and serves on `loop`, which is the I/O thread; null: on one of its own.
  static Result<std::unique_ptr<HttpServer>> listen(const HttpServerOptions& options,
                                                    Handler handler,
                                                    std::shared_ptr<EventLoop> loop = nullptr);
  virtual ~HttpServer() = default;  // closes all connections at once

  virtual int port() const = 0;
  virtual int connections() const = 0;
  virtual void post(std::function<void()> work) = 0;

  // Accepts no more, closes idle connections, lets answers in progress end until `timeout`
  // passes, then closes what is left. Returns when all is closed; nothing is handled afterwards.
  virtual void shutdown(Duration timeout) = 0;
};

}  // namespace braid::net
