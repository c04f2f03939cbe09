// SPDX-License-Identifier: Apache-2.0
// Requests of an Envoy that asks a router by external processing, for `braid bench router`: each is asked,
// sent back by the router, answered by nobody but this load itself, and accounted.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "extproc/client.h"

namespace braid::app {

class EnvoyLoad {
 public:
  // `host_port` speaks gRPC without TLS.
  EnvoyLoad(const std::string& host_port, int concurrency) : router_(extproc::Client::create(host_port)), concurrency_(concurrency) {}

  // So many requests, `concurrency` at a time, from the first to the last byte; returns how many failed.
  int ask(int requests, const std::function<std::string(int number)>& body);

  // Opens streams whose answers have begun; send_chunk() gives each of them a piece and takes it back.
  Status open_streams(int count, const std::string& body);
  Status send_chunk(std::string_view chunk, bool last);

 private:
  const std::unique_ptr<extproc::Client> router_;
  const int concurrency_;
  std::vector<std::unique_ptr<extproc::ClientStream>> streams_;
};

}  // namespace braid::app
