// SPDX-License-Identifier: Apache-2.0
// The endpoints that all discoveries know, with the newest that scraping has told of each. Only these are
// ever connected to.
//
// An endpoint is usable once it has answered a scrape, whatever the answer, until it is found dead: by
// scrapes that fail, or by a request that could not reach it. It becomes usable again with the next scrape
// that it answers. One that leaves (it said that it shuts down) stays unusable, whatever it answers, until nobody
// answers there or another process does.
// Thread rules: the event loop's thread only.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "router/endpoint.h"

namespace braid::gateway {

class EndpointPool {
 public:
  // Called for an endpoint that is in no discovery any more, or has another address than before.
  using Removed = std::function<void(const std::string& name)>;
  explicit EndpointPool(Removed on_removed) : on_removed_(std::move(on_removed)) {}

  // All that the discovery called `source` knows now. Endpoints that stay keep their state. A name that
  // another source already has stays that one's.
  void replace(const std::string& source, const std::vector<router::Endpoint>& endpoints);

  std::span<const router::Endpoint> usable() const { return usable_; }
  std::span<const router::Endpoint> dead() const { return dead_; }
  std::size_t size() const { return usable_.size() + dead_.size(); }

  // Null: not there. Valid until the pool changes.
  router::Endpoint* find(std::string_view name);
  // Calls visit(endpoint) for each at this address, usable or dead.
  void for_each_at(std::string_view host_port, const std::function<void(router::Endpoint&)>& visit);
  // Whether this very endpoint may be connected to.
  bool has(const router::EndpointId& id);

  // Of all endpoints at this address.
  void set_alive(std::string_view host_port, bool alive);
  void set_leaving(std::string_view host_port);
  // Another process listens there.
  void returned(std::string_view host_port);

  // Addresses, each once.
  std::vector<router::EndpointId> addresses() const;

 private:
  void remove(const std::string& name);

  Removed on_removed_;
  std::vector<router::Endpoint> usable_;
  std::vector<router::Endpoint> dead_;
  std::set<std::string, std::less<>> leaving_;  // addresses
  std::map<std::string, std::string, std::less<>> source_of_;
};

}  // namespace braid::gateway
