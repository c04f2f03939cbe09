// SPDX-License-Identifier: Apache-2.0
// How processes are let into a deployment: what ranks and hosts say when they connect to a serving
// process, and what it makes of that. All must have been started with the same settings, but for those
// that tell hosts apart.
#pragma once

#include <memory>
#include <string>

#include "app/host_role.h"
#include "app/settings.h"
#include "base/clock.h"
#include "base/result.h"
#include "fabric/connection.h"

namespace braid::app {

// A headless host that starts ranks for the leader.
struct HostHello {
  std::string name;
  RankRange ranks;  // that its flags name
  bool operator==(const HostHello&) const = default;
};

// "the host of rank 2", "a host without ranks"
std::string name_of_host(const RankRange& ranks);
HostHello host_hello(const ParallelSettings& settings);

std::string hello_of(const ServeSettings& settings, int rank);
std::string hello_of(const ServeSettings& settings, const HostHello& host);
bool is_host(const std::string& hello);
// What a hello says; an error names the setting in which it differs from `settings`.
Result<int> rank_of(const std::string& hello, const ServeSettings& settings);
Result<HostHello> host_of(const std::string& hello, const ServeSettings& settings);

// Connects to a serving process and waits to be welcome there.
Result<std::unique_ptr<fabric::Connection>> enter(const std::string& host, int port, const std::string& secret, const std::string& hello,
                                                  TimePoint deadline);

}  // namespace braid::app
