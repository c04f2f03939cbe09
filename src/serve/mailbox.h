// SPDX-License-Identifier: Apache-2.0
// Where the engine leaves the messages of a step: one wake of the I/O thread for all requests.
// Thread rules: on_tokens on the engine thread, the rest on the I/O thread.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "engine/messages.h"
#include "net/http_server.h"

namespace braid::serve {

class Generation;

class Mailbox final : public engine::Subscriber, public std::enable_shared_from_this<Mailbox> {
 public:
  // `http` outlives what the engine has to say.
  explicit Mailbox(net::HttpServer& http) : http_(http) {}

  void on_tokens(std::vector<engine::TokenMessage>&& messages) override;

  // `generation` receives the request's messages until it is removed. To be called in the task that
  // submitted the request, so that none is missed.
  void add(engine::RequestId request, std::shared_ptr<Generation> generation);
  void remove(engine::RequestId request) { receivers_.erase(request); }

 private:
  void deliver(std::vector<engine::TokenMessage>&& messages);

  net::HttpServer& http_;
  std::unordered_map<engine::RequestId, std::shared_ptr<Generation>> receivers_;
};

}  // namespace braid::serve
