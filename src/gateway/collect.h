// SPDX-License-Identifier: Apache-2.0
// A call whose whole answer is wanted.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "net/client_pool.h"

namespace braid::gateway {

struct Collected {
  int status = 0;
  std::vector<net::Header> headers;
  std::string body;
};

// Errors: those of the pool, and an answer of more than `max_bytes`. `done` is not called if the pool ends first.
// `early` may be empty: headers of interim answers.
net::ClientPool::CallId collect(net::ClientPool& pool, net::PoolRequest request, std::size_t max_bytes,
                                std::function<void(Result<Collected>)> done,
                                std::function<void(const std::vector<net::Header>&)> early = {});

}  // namespace braid::gateway
