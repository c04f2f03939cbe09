// SPDX-License-Identifier: Apache-2.0
#include "app/scale_check.h"

#include <algorithm>
#include <string>

#include "app/expert_balance.h"
#include "app/host_role.h"

namespace braid::app {
namespace {

constexpr const char* kField = "new_data_parallel_size";
constexpr int kMostRanks = 512;

std::string mib(std::int64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

Status check_mode(const ParallelSettings& p) {
  if (role_of(p).serves_all) return Status::success();
  return invalid_argument("the ranks of several servers cannot be added or taken away; a deployment that is to change needs all its ranks "
                          "under one server, with --headless on the other hosts", kField);
}

Status check_experts(const ParallelSettings& p, const model::Config& config, int ranks) {
  const int slots = config.moe.experts + p.eplb.num_redundant_experts;
  if (p.enable_expert_parallel && config.moe.experts > 0 && ranks > slots) {
    return invalid_argument(std::to_string(ranks) + " ranks are more than the " + std::to_string(slots) +
                            " experts there are to hold; ask for at most that many", kField);
  }
  if (!p.enable_eplb) return Status::success();
  ParallelSettings wanted = p;
  wanted.size = ranks;
  const Status balanced = check_eplb(wanted, config);
  return balanced.ok() ? balanced : invalid_argument(balanced.error().message, kField);
}

std::string free_memory(const ScaleFacts& facts) {
  if (facts.hosts.size() == 1) return mib(facts.hosts.front().available_bytes) + " are free";
  std::string text;
  for (const auto& host : facts.hosts) {
    text += (text.empty() ? "" : ", ") + (host.there ? mib(host.available_bytes) + " are free on " + host.name : host.name + " is gone");
  }
  return text;
}

}  // namespace

Result<std::vector<std::size_t>> place_ranks(int more, ScaleFacts facts) {
  const std::string free = free_memory(facts);
  std::vector<std::size_t> places;
  for (int i = 0; i < more; ++i) {
    ScaleFacts::Host* best = nullptr;
    for (auto& host : facts.hosts) {
      if (host.there && host.available_bytes >= facts.rank_bytes && (!best || host.ranks < best->ranks)) best = &host;
    }
    if (!best) {
      return Error{ErrorCode::kResourceExhausted, std::to_string(more) + " more ranks need about " + mib(more * facts.rank_bytes) +
                   " of memory, and " + free + "; ask for fewer", kField};
    }
    best->ranks += 1;
    best->available_bytes -= facts.rank_bytes;
    places.push_back(static_cast<std::size_t>(best - facts.hosts.data()));
  }
  return places;
}

Status check_scale(const ServeSettings& settings, const model::Config& config, int ranks, const ScaleFacts& facts) {
  const ParallelSettings& p = settings.parallel;
  if (ranks < 1 || ranks > kMostRanks) {
    return invalid_argument(std::string(kField) + ": " + std::to_string(ranks) + " is out of range; ask for 1 to " + std::to_string(kMostRanks), kField);
  }
  RETURN_IF_ERROR(check_mode(p));
  RETURN_IF_ERROR(check_experts(p, config, ranks));
  const auto placed = place_ranks(ranks - p.size, facts);
  return placed.ok() ? Status::success() : Status(placed.error());
}

}  // namespace braid::app
