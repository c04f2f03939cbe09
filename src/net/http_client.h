// SPDX-License-Identifier: Apache-2.0
// A client of one HTTP/1.1 server: a pool (net/client_pool.h) with a loop of its own, callable from any
// thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "net/client_pool.h"
#include "net/http_message.h"

namespace braid::net {

// "http://host:port/base" in its parts; port 80 and base "" when left out. TLS is not spoken.
struct Url {
  std::string host;
  int port = 80;
  std::string base;  // path without a trailing '/'
};
Result<Url> parse_url(std::string_view text);

struct ClientRequest {
  std::string method = "GET";
  std::string target = "/";
  std::vector<Header> headers;  // beside host, content-length and, with a body, content-type
  std::string body;             // sent as application/json unless headers say otherwise
  Duration timeout = std::chrono::seconds(600);  // until the last byte of the answer
};

struct ClientResponse {
  int status = 0;
  std::vector<Header> headers;
  std::string body;
};

// Handlers run on the client's thread.
// Thread safety: every method may be called from any thread; fetch not from a callback.
class HttpClient {
 public:
  // At most `max_connections` are open at a time; more requests wait for one.
  static std::unique_ptr<HttpClient> create(const std::string& host, int port,
                                            int max_connections = 1024);
  virtual ~HttpClient() = default;  // cancels what is in progress without further callbacks

  using CallId = std::uint64_t;
  virtual CallId start(ClientRequest request, ClientHandlers handlers) = 0;
  // Closes the call's connection; on_done tells kCancelled. Unknown ids are ignored.
  virtual void cancel(CallId call) = 0;

  // Runs `work` on the client's thread after `delay`.
  virtual void after(Duration delay, std::function<void()> work) = 0;

  // Waits for the whole answer.
  Result<ClientResponse> fetch(ClientRequest request);
  // Waits for the answer's end, handing the body's bytes to `on_data` (on the client's thread).
  Result<ClientResponse> fetch_stream(ClientRequest request,
                                      std::function<void(std::string_view)> on_data);
};

// Cuts an event stream into the data of its events.
class SseReader {
 public:
  // Calls `on_event` for each event that is complete; its data's lines joined with '\n'.
  void feed(std::string_view bytes, const std::function<void(std::string_view data)>& on_event);

 private:
  std::string line_;
  std::string data_;
  bool has_data_ = false;
};

}  // namespace braid::net
