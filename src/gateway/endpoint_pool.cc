// SPDX-License-Identifier: Apache-2.0
#include "gateway/endpoint_pool.h"

#include <algorithm>
#include <set>
#include <utility>

namespace braid::gateway {

using router::Endpoint;

void EndpointPool::replace(const std::string& source, const std::vector<Endpoint>& endpoints) {
  std::vector<std::string> gone;
  for (const auto& [name, owner] : source_of_) {
    const auto now = std::find_if(endpoints.begin(), endpoints.end(), [&](const Endpoint& e) { return e.id.name == name; });
    if (owner == source && (now == endpoints.end() || now->id != find(name)->id)) gone.push_back(name);
  }
  for (const std::string& name : gone) remove(name);
  for (const Endpoint& endpoint : endpoints) {
    const auto [owner, fresh] = source_of_.try_emplace(endpoint.id.name, source);
    if (fresh) {
      dead_.push_back(endpoint);
    } else if (owner->second == source) {
      find(endpoint.id.name)->labels = endpoint.labels;
    }
  }
}

void EndpointPool::remove(const std::string& name) {
  const auto called = [&](const Endpoint& e) { return e.id.name == name; };
  if (const Endpoint* endpoint = find(name)) returned(endpoint->id.host_port());
  std::erase_if(usable_, called);
  std::erase_if(dead_, called);
  source_of_.erase(name);
  on_removed_(name);
}

Endpoint* EndpointPool::find(std::string_view name) {
  for (auto* list : {&usable_, &dead_}) {
    for (Endpoint& endpoint : *list) {
      if (endpoint.id.name == name) return &endpoint;
    }
  }
  return nullptr;
}

void EndpointPool::for_each_at(std::string_view host_port, const std::function<void(Endpoint&)>& visit) {
  for (auto* list : {&usable_, &dead_}) {
    for (Endpoint& endpoint : *list) {
      if (endpoint.id.host_port() == host_port) visit(endpoint);
    }
  }
}

bool EndpointPool::has(const router::EndpointId& id) {
  const Endpoint* endpoint = find(id.name);
  return endpoint != nullptr && endpoint->id == id;
}

void EndpointPool::set_leaving(std::string_view host_port) {
  set_alive(host_port, false);
  leaving_.emplace(host_port);
}

void EndpointPool::returned(std::string_view host_port) {
  if (const auto found = leaving_.find(host_port); found != leaving_.end()) leaving_.erase(found);
}

void EndpointPool::set_alive(std::string_view host_port, bool alive) {
  if (!alive) returned(host_port);
  else if (leaving_.contains(host_port)) return;
  auto& from = alive ? dead_ : usable_;
  auto& to = alive ? usable_ : dead_;
  for (std::size_t i = 0; i < from.size();) {
    if (from[i].id.host_port() != host_port) {
      ++i;
      continue;
    }
    to.push_back(std::move(from[i]));
    from.erase(from.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

std::vector<router::EndpointId> EndpointPool::addresses() const {
  std::vector<router::EndpointId> out;
  std::set<std::string> seen;
  for (const auto* list : {&usable_, &dead_}) {
    for (const Endpoint& endpoint : *list) {
      if (seen.insert(endpoint.id.host_port()).second) out.push_back(endpoint.id);
    }
  }
  return out;
}

}  // namespace braid::gateway
