// SPDX-License-Identifier: Apache-2.0
// One call of the API server, over a connection of its own; the answer is handed on as it comes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "kubernetes/api_server.h"
#include "net/event_loop.h"

namespace braid::kubernetes {

struct ApiRequest {
  std::string target;
  std::string patch{};  // a JSON merge patch; empty: GET
};

// Thread rules: the loop's thread only. The destructor ends the call; nothing is told any more.
class ApiCall {
 public:
  struct Handlers {
    std::function<void(int status)> on_head;
    std::function<void(std::string_view data)> on_data;
    std::function<void(Status status)> on_done;  // the last; an Error: no (complete) answer
  };
  // `silence`: longest time without a sign of the server. Nothing is told before this returns; on_done may
  // destroy the call.
  static std::unique_ptr<ApiCall> start(net::EventLoop& loop, const ApiServer& server, const ApiRequest& request, Duration silence, Handlers handlers);
  virtual ~ApiCall() = default;
};

// Waits for the answer's body, `patience` at most. Errors: none came, or its status is not 2xx; they tell the status and
// the beginning of the answer.
// Thread rules: any thread but the loop's.
Result<std::string> ask(net::EventLoop& loop, const ApiServer& server, const ApiRequest& request, Duration patience);

}  // namespace braid::kubernetes
