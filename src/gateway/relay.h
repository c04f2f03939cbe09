// SPDX-License-Identifier: Apache-2.0
// One answer on its way from a server to the client, as it comes: the server is read no faster than the
// client reads, short answers that are not streams go out whole or not at all, and an answer that breaks
// off says so (an error event in a stream of events, else a connection that ends early).
// Thread rules: the event loop's thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gateway/answer_rewriter.h"
#include "gateway/usage.h"
#include "net/client_pool.h"
#include "net/http_server.h"

namespace braid::gateway {

struct RelayEnd {
  Status status;       // an Error: no (complete) answer
  int answered = 0;    // the server's HTTP status; 0: none came
  bool begun = false;  // the client has some of it: nothing else can be answered
  std::int64_t bytes = 0;
  Usage usage;
  Duration processing{};  // spent on a stream's pieces; of other answers, from head to end
};

class Relay : public std::enable_shared_from_this<Relay> {
 public:
  struct Hooks {
    // Whether this answer is for the client. False: it is given up, and on_end tells kCancelled.
    std::function<bool(int status, const std::vector<net::Header>& headers)> on_head;
    // Pieces of the body as they come, with the number of events that begin in each.
    std::function<void(std::int64_t events)> on_piece;
    std::function<void()> on_writable = {};           // of a request body that streams, as ClientPool tells it
    std::function<void(const RelayEnd& end)> on_end;  // the last
  };

  // Hooks keep alive what they need; none is called before this returns.
  static std::shared_ptr<Relay> start(net::ClientPool& upstream, std::shared_ptr<net::ResponseWriter> client, net::PoolRequest request,
                                      const AnswerChanges& changes, Hooks hooks);

  // The answer that comes is for the client.
  bool accepted() const { return accepted_; }

  // Ends the call at once; on_end tells kCancelled.
  void cancel();

  // A request body that streams, as ClientPool takes it.
  std::size_t send(std::string_view data) { return upstream_.send(call_, data); }
  void end_body() { upstream_.end_body(call_); }

  // What the client gets beside the answer's own headers; before on_head has returned.
  void add_header(std::string name, std::string value) { headers_.push_back({std::move(name), std::move(value)}); }

 private:
  Relay(net::ClientPool& upstream, std::shared_ptr<net::ResponseWriter> client, const AnswerChanges& changes, Hooks hooks);

  void on_head(int status, const std::vector<net::Header>& headers);
  void on_data(std::string_view data);
  void take(std::string_view data);
  void on_done(Status status);
  void write(std::string bytes);
  void break_off(const Error& error);

  net::ClientPool& upstream_;
  const std::shared_ptr<net::ResponseWriter> client_;
  AnswerRewriter rewriter_;
  std::vector<net::Header> headers_;
  Hooks hooks_;
  net::ClientPool::CallId call_ = 0;
  net::Response head_;   // for the client; its body collects a short answer
  bool accepted_ = false;
  bool whole_ = false;   // the answer is collected
  bool events_ = false;
  char last_byte_ = '\n';
  UsageReader usage_;
  TimePoint began_{};  // the answer
  RelayEnd end_;
};

}  // namespace braid::gateway
