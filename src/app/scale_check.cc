// SPDX-License-Identifier: Apache-2.0
#include "app/scale_check.h"

#include <string>

#include "app/expert_balance.h"
#include "app/host_role.h"

namespace braid::app {
namespace {

constexpr const char* kField = "new_data_parallel_size";
constexpr int kMostRanks = 512;

std::string mib(std::int64_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

Status check_mode(const ParallelSettings& p) {
  if (role_of(p).started.count == p.size) return Status::success();
  return invalid_argument("ranks that other hosts or servers start cannot be added or taken away from here; a deployment that is to change "
                          "needs all its ranks under one server", kField);
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

}  // namespace

Status check_scale(const ServeSettings& settings, const model::Config& config, int ranks, const ScaleFacts& facts) {
  const ParallelSettings& p = settings.parallel;
  if (ranks < 1 || ranks > kMostRanks) {
    return invalid_argument(std::string(kField) + ": " + std::to_string(ranks) + " is out of range; ask for 1 to " + std::to_string(kMostRanks), kField);
  }
  RETURN_IF_ERROR(check_mode(p));
  RETURN_IF_ERROR(check_experts(p, config, ranks));
  const std::int64_t needed = (ranks - p.size) * facts.rank_bytes;
  if (needed <= facts.available_bytes) return Status::success();
  return Error{ErrorCode::kResourceExhausted, std::to_string(ranks - p.size) + " more ranks need about " + mib(needed) + " of memory, and " +
               mib(facts.available_bytes) + " are free; ask for fewer", kField};
}

}  // namespace braid::app
