// SPDX-License-Identifier: Apache-2.0
// How many groups of ranks there are and what each does: "4x8" is four groups of eight ranks that prefill and
// decode, "2x8P1x32D" two groups of eight that prefill beside one of 32 that decodes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "planning/cost_table.h"
#include "planning/rank.h"

namespace braid::planning {

enum class Role { kBoth, kPrefill, kDecode };
inline constexpr int kRoles = 3;
std::string_view name_of(Role role);

struct Groups {
  int count = 1;
  int ranks = 1;  // of each, which share its experts
};

struct Layout {
  std::optional<Groups> both, prefill, decode;  // either the first or the others

  const std::optional<Groups>& of(Role role) const;
  std::optional<Groups>& of(Role role);
  bool divided() const { return !both.has_value(); }
  int ranks() const;
};

Result<Layout> parse_layout(const std::string& text);
std::string to_text(const Layout& layout);

struct Choices {
  double block_size = 64;
  int max_batched_tokens = 8192;
  int max_sequences = 256;
  int ranks_per_node = 8;
  bool eplb = true;
  bool dbo = false;
  int drafts = 0;
  double acceptance = 0.8;   // of a drafted token whose predecessors were accepted
  double imbalance = 1.7;    // of experts' rows without EPLB, busiest rank over mean
  double balanced = 1.1;     // and with it
  double gpu_memory = 0.92;  // share of a rank's memory for weights and cache
};

// One group of ranks of a role, as the simulation needs it.
struct GroupModel {
  ModelShape model;
  Rates rates;
  Exchange exchange;
  RankOptions rank;
};

// Errors: the weights leave no room for the cache of one long request.
Result<GroupModel> group_model(const ModelShape& model, const CostTable& costs, const Choices& choices, Role role, int ranks);

// Bytes of weights on each of `ranks` ranks.
double rank_weight_bytes(const ModelShape& model, int ranks);

}  // namespace braid::planning
