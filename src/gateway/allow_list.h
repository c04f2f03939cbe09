// SPDX-License-Identifier: Apache-2.0
// The servers that a request's header may name: by address, or by a name whose addresses are looked up again
// and again. Addresses of a name that cannot be looked up stay as they were; before the first time it has none.
// Thread rules: the event loop's thread only, construction apart.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "gateway/endpoint_list.h"
#include "net/event_loop.h"

namespace braid::gateway {

class AllowList {
 public:
  // Each entry is a host, or host:port. `loop` outlives the list.
  AllowList(net::EventLoop& loop, const std::vector<std::string>& entries, Duration interval);
  ~AllowList() { *alive_ = false; }
  AllowList(const AllowList&) = delete;
  AllowList& operator=(const AllowList&) = delete;

  bool allows(const HostPort& server) const;

 private:
  struct Entry {
    std::string host;
    int port = 0;  // 0: any
    std::set<std::string> addresses;
  };
  static Entry entry_of(const std::string& text);
  void look_up(std::size_t index);

  net::EventLoop& loop_;
  const Duration interval_;
  std::vector<Entry> entries_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace braid::gateway
