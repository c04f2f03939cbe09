// SPDX-License-Identifier: Apache-2.0
#include "gateway/discovery.h"

#include <sys/stat.h>

#include <utility>

#include "base/log.h"
#include "gateway/endpoint_list.h"
#include "net/resolve.h"
#include "text/files.h"

namespace braid::gateway {

Discovery::Discovery(net::EventLoop& loop, EndpointPool& endpoints, DiscoveryOptions options, std::function<void()> on_change)
    : loop_(loop), endpoints_(endpoints), options_(std::move(options)), on_change_(std::move(on_change)) {}

Result<std::unique_ptr<Discovery>> Discovery::start(net::EventLoop& loop, EndpointPool& endpoints, DiscoveryOptions options,
                                                    std::function<void()> on_change) {
  ASSIGN_OR_RETURN(const auto list, parse_endpoint_list(options.list));
  ASSIGN_OR_RETURN(const auto names, parse_endpoint_list(options.names));
  std::unique_ptr<Discovery> discovery(new Discovery(loop, endpoints, std::move(options), std::move(on_change)));
  endpoints.replace("list", list);
  if (!discovery->options_.file.empty()) {
    discovery->file_state_ = state_of(discovery->options_.file);
    RETURN_IF_ERROR(discovery->read_file());
    if (discovery->options_.watch_file) discovery->watch_file();
  }
  for (const router::Endpoint& name : names) discovery->look_up(name);
  return discovery;
}

Discovery::FileState Discovery::state_of(const std::string& file) {
  struct stat found {};
  if (::stat(file.c_str(), &found) != 0) return {};
  return {found.st_mtim.tv_sec * 1'000'000'000 + found.st_mtim.tv_nsec, found.st_size};
}

Status Discovery::read_file() {
  ASSIGN_OR_RETURN(const std::string yaml, text::read_file(options_.file));
  ASSIGN_OR_RETURN(const auto list, parse_endpoint_file(yaml, options_.file));
  endpoints_.replace("file", list);
  return {};
}

void Discovery::watch_file() {
  loop_.after(options_.file_interval, [this, alive = alive_] {
    if (!*alive) return;
    if (const FileState now = state_of(options_.file); now != file_state_) {
      file_state_ = now;
      const Status status = read_file();
      if (status.ok()) {
        log_info("endpoints read again", {{"file", options_.file}, {"endpoints", endpoints_.size()}});
        on_change_();
      } else {
        log_warning("endpoints stay as they were", {{"why", status.error().message}});
      }
    }
    watch_file();
  });
}

// `pattern` has the name as its address, and port, rank and labels of what the name stands for.
void Discovery::look_up(const router::Endpoint& pattern) {
  net::resolve(loop_, pattern.id.address, [this, alive = alive_, pattern](Result<std::vector<std::string>> found) {
    if (!*alive) return;
    if (found.ok()) {
      std::vector<router::Endpoint> endpoints;
      for (const std::string& address : *found) {
        router::Endpoint endpoint = pattern;
        endpoint.id.address = address;
        endpoint.id.name = endpoint.id.host_port() + pattern.id.name.substr(pattern.id.host_port().size());
        endpoints.push_back(std::move(endpoint));
      }
      endpoints_.replace("dns " + pattern.id.name, endpoints);
      on_change_();
    } else {
      log_warning("endpoints stay as they were", {{"why", found.error().message}});
    }
    loop_.after(options_.name_interval, [this, alive, pattern] {
      if (*alive) look_up(pattern);
    });
  });
}

}  // namespace braid::gateway
