// SPDX-License-Identifier: Apache-2.0
#include "gateway/allow_list.h"

#include <arpa/inet.h>

#include <algorithm>

#include "base/log.h"
#include "net/resolve.h"

namespace braid::gateway {
namespace {

bool is_address(const std::string& host) {
  in6_addr parsed;
  return inet_pton(AF_INET, host.c_str(), &parsed) == 1 || inet_pton(AF_INET6, host.c_str(), &parsed) == 1;
}

}  // namespace

AllowList::Entry AllowList::entry_of(const std::string& text) {
  if (is_address(text)) return {.host = text};
  const auto both = parse_host_port(text);
  return both.ok() ? Entry{.host = both->host, .port = both->port} : Entry{.host = text};
}

AllowList::AllowList(net::EventLoop& loop, const std::vector<std::string>& entries, Duration interval) : loop_(loop), interval_(interval) {
  for (const std::string& text : entries) entries_.push_back(entry_of(text));
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (is_address(entries_[i].host)) continue;
    loop_.post([this, alive = alive_, i] {
      if (*alive) look_up(i);
    });
  }
}

bool AllowList::allows(const HostPort& server) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return (entry.port == 0 || entry.port == server.port) && (entry.host == server.host || entry.addresses.contains(server.host));
  });
}

void AllowList::look_up(std::size_t index) {
  net::resolve(loop_, entries_[index].host, [this, alive = alive_, index](Result<std::vector<std::string>> found) {
    if (!*alive) return;
    if (found.ok()) {
      entries_[index].addresses = {found->begin(), found->end()};
    } else {
      log_warning("allowed prefillers stay as they were", {{"why", found.error().message}});
    }
    loop_.after(interval_, [this, alive, index] {
      if (*alive) look_up(index);
    });
  });
}

}  // namespace braid::gateway
