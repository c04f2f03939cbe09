// SPDX-License-Identifier: Apache-2.0
// Where endpoints come from: a list, a file that is watched, names that are looked up again and again.
// What cannot be read leaves the endpoints as they are.
// Thread rules: the event loop's thread only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "gateway/endpoint_pool.h"
#include "net/event_loop.h"

namespace braid::gateway {

struct DiscoveryOptions {
  std::vector<std::string> list;  // as parse_endpoint_list takes them
  std::string file;               // empty: none
  bool watch_file = true;
  std::vector<std::string> names;  // "name:port", labels behind ';'
  Duration file_interval = std::chrono::seconds(1);
  Duration name_interval = std::chrono::seconds(5);
};

class Discovery {
 public:
  // Fills the pool from list and file. Errors: one of them cannot be read, or a name is misspelt.
  // `on_change` is called after later changes. All outlive the discovery.
  static Result<std::unique_ptr<Discovery>> start(net::EventLoop& loop, EndpointPool& endpoints, DiscoveryOptions options,
                                                  std::function<void()> on_change);
  ~Discovery() { *alive_ = false; }

 private:
  struct FileState {
    std::int64_t changed_ns = 0;
    std::int64_t bytes = -1;
    bool operator==(const FileState&) const = default;
  };

  Discovery(net::EventLoop& loop, EndpointPool& endpoints, DiscoveryOptions options, std::function<void()> on_change);
  Status read_file();
  void watch_file();
  void look_up(const router::Endpoint& pattern);
  static FileState state_of(const std::string& file);

  net::EventLoop& loop_;
  EndpointPool& endpoints_;
  const DiscoveryOptions options_;
  const std::function<void()> on_change_;
  FileState file_state_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace braid::gateway
