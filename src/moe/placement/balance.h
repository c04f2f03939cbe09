// SPDX-License-Identifier: Apache-2.0
// Which experts get further slots, and on which rank each slot lies, so that all ranks have about the
// same load. Two policies: hierarchical keeps the experts of a routing group on one node; global
// ignores groups and nodes. Pure functions, alike on every rank for equal arguments: ties go to the
// lower index everywhere.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "moe/placement/placement.h"

namespace braid::moe {

struct Topology {
  int slots = 0;  // of all ranks
  int groups = 1; // of experts, as the router has them
  int nodes = 1;
  int ranks = 1;
};

struct BalancedSlots {
  std::vector<std::int32_t> slot_expert;                // [slots]
  std::vector<std::vector<std::int32_t>> expert_slots;  // [experts] first the slot of copy 0, then of copy 1, ...
};

// loads[e]: how much work expert e had. Hierarchical when nodes divide groups, else global.
// Errors: fewer slots than experts; slots that ranks do not divide; ranks that nodes, or experts that
// groups do not divide; a load that is negative or not finite.
Result<BalancedSlots> balance(std::span<const double> loads, const Topology& topology);

// The load of every rank when the copies of an expert share its work evenly.
std::vector<double> rank_loads(const Placement& placement, std::span<const double> loads);
// Mean over maximum, 1 at best; 1 when there is no load at all.
double balancedness(std::span<const double> rank_loads);

// `wanted`, with the slots of each rank in another order: experts that the rank already has stay in
// their slots, so that fewer weights move.
Placement keep_in_place(const Placement& held, const Placement& wanted);

}  // namespace braid::moe
