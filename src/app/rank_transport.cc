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

// What keys and values depend on, of a model.
std::string cached_kind(const model::Config& c) {
  std::string text = c.architecture;
  for (const auto n : {c.vocab_size, c.hidden, c.layers, c.heads, c.kv_heads, c.head_dim, c.q_lora, c.kv_lora, c.nope_dim, c.rope_dim, c.moe.experts}) {
    text += " " + std::to_string(n);
  }
  return text;
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

std::string host_identity(const ParallelSettings& settings) {
  if (!settings.host.empty()) return settings.host;
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  std::error_code none;
  for (const char* space : {"pid", "net"}) boot += " " + std::filesystem::read_symlink(std::string("/proc/self/ns/") + space, none).string();
  return boot;
}

Result<std::unique_ptr<fabric::Transport>> rank_transport(const ParallelSettings& settings, const std::string& address, Duration spin) {
  auto near = transport::shm::transport({.spin = spin});
  if (settings.local_size() == settings.size && settings.host.empty()) return near;
  const Duration patience = std::chrono::seconds(settings.rank_timeout_seconds);
  ASSIGN_OR_RETURN(auto far, transport::ucx::transport({.address = address, .spin = spin, .dead_after = patience, .connect_time = patience}));
  return fabric::mixed_transport(std::move(near), std::move(far), host_identity(settings));
}

Result<std::unique_ptr<transfer::Node>> transfer_node(const ServeSettings& settings, const model::Config& config, const Stream& stream, int rank) {
  const transfer::Settings& t = settings.engine.transfer;
  if (!t.enabled()) return std::unique_ptr<transfer::Node>();
  RETURN_IF_ERROR(transfer::check(t));
  if (!stream.unified()) {
    return Error{ErrorCode::kUnimplemented, "--kv-transfer-config exchanges caches in the host's memory only; leave it out or use --device cpu", "kv-transfer-config"};
  }
  auto near = transport::shm::transport({.spin = Duration::zero()});
  if (transfer::is_loopback(t.kv_ip)) return transfer::Node::open(t, std::move(near), rank, cached_kind(config));
  ASSIGN_OR_RETURN(auto far, transport::ucx::transport({.address = t.kv_ip, .spin = Duration::zero()}));
  return transfer::Node::open(t, fabric::mixed_transport(std::move(near), std::move(far), host_identity(settings.parallel)), rank, cached_kind(config));
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
