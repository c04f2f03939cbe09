// SPDX-License-Identifier: Apache-2.0
#include "gateway/collect.h"

#include <memory>
#include <utility>

namespace braid::gateway {

net::ClientPool::CallId collect(net::ClientPool& pool, net::PoolRequest request, std::size_t max_bytes,
                                std::function<void(Result<Collected>)> done,
                                std::function<void(const std::vector<net::Header>&)> early) {
  struct Call {
    Collected answer;
    net::ClientPool::CallId id = 0;
    bool too_long = false;
  };
  auto call = std::make_shared<Call>();
  net::ClientHandlers handlers;
  handlers.on_early = std::move(early);
  handlers.on_head = [call](int status, const std::vector<net::Header>& headers) {
    call->answer.status = status;
    call->answer.headers = headers;
  };
  handlers.on_data = [call, &pool, max_bytes](std::string_view data) {
    call->too_long = call->answer.body.size() + data.size() > max_bytes;
    if (call->too_long) return pool.cancel(call->id);
    call->answer.body += data;
  };
  handlers.on_done = [call, max_bytes, done = std::move(done)](Status status) {
    if (call->too_long) return done(internal_error("an answer of more than " + std::to_string(max_bytes) + " bytes"));
    if (!status.ok()) return done(status.error());
    done(std::move(call->answer));
  };
  call->id = pool.start(std::move(request), std::move(handlers));
  return call->id;
}

}  // namespace braid::gateway
