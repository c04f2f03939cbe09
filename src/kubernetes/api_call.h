// SPDX-License-Identifier: Apache-2.0
// One GET of the API server, over a connection of its own; the answer is handed on as it comes.
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
  static std::unique_ptr<ApiCall> get(net::EventLoop& loop, const ApiServer& server, const std::string& target, Duration silence, Handlers handlers);
  virtual ~ApiCall() = default;
};

}  // namespace braid::kubernetes
