// SPDX-License-Identifier: Apache-2.0
#include "app/rank_transport.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>

#include "base/log.h"
#include "fabric/mixed_transport.h"
#include "fabric/paths.h"
#include "transport/shm/shm.h"
#include "transport/ucx/ucx.h"

namespace braid::app {
namespace {

constexpr double kGiga = 1e9;
constexpr double kBitsInByte = 8;

// Processes with the same identity can open each other's memory.
std::string host_identity(const ParallelSettings& settings) {
  if (!settings.host.empty()) return settings.host;
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  std::error_code none;
  for (const char* space : {"pid", "net"}) boot += " " + std::filesystem::read_symlink(std::string("/proc/self/ns/") + space, none).string();
  return boot;
}

std::string gigabytes(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", bytes / kGiga);
  return text;
}

// Peers that are reached alike.
struct Alike {
  std::string ranks;
  double slowest = 0;
  double expected = 0;
};

}  // namespace

Result<std::unique_ptr<fabric::Transport>> rank_transport(const ParallelSettings& settings, const std::string& address, Duration spin) {
  auto near = transport::shm::transport({.spin = spin});
  if (settings.local_size() == settings.size && settings.host.empty()) return near;
  const Duration patience = std::chrono::seconds(settings.rank_timeout_seconds);
  ASSIGN_OR_RETURN(auto far, transport::ucx::transport({.address = address, .spin = spin, .dead_after = patience, .connect_time = patience}));
  return fabric::mixed_transport(std::move(near), std::move(far), host_identity(settings));
}

Status report_paths(const ParallelSettings& settings, fabric::Bootstrap& bootstrap, fabric::Transport& transport) {
  ASSIGN_OR_RETURN(auto paths, fabric::measure_paths(bootstrap, transport, std::chrono::seconds(settings.rank_timeout_seconds)));
  std::map<std::string, Alike> by_name;
  for (std::size_t peer = 0; peer < paths.size(); ++peer) {
    fabric::MeasuredPath& path = paths[peer];
    if (path.name.empty()) continue;
    const bool network = path.name.starts_with("ucx");
    if (network && settings.network_gbits > 0) path.expected = settings.network_gbits * kGiga / kBitsInByte;
    Alike& alike = by_name[path.name];
    alike.ranks += (alike.ranks.empty() ? "" : ",") + std::to_string(peer);
    alike.slowest = alike.slowest > 0 ? std::min(alike.slowest, path.measured) : path.measured;
    alike.expected = std::max(alike.expected, path.expected);
    if (!fabric::suspicious(path)) continue;
    log_warning("a path between ranks is much slower than expected; check cables, interfaces and --data-parallel-address",
                {{"from", bootstrap.rank()}, {"to", peer}, {"over", path.name}, {"gb_per_s", gigabytes(path.measured)},
                 {"expected_gb_per_s", gigabytes(path.expected)}});
  }
  for (const auto& [name, alike] : by_name) {
    log_info("path", {{"from", bootstrap.rank()}, {"to", alike.ranks}, {"over", name}, {"gb_per_s", gigabytes(alike.slowest)},
                      {"made_for_gb_per_s", alike.expected > 0 ? gigabytes(alike.expected) : "unknown"}});
  }
  return Status::success();
}

}  // namespace braid::app
