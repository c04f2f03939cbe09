// SPDX-License-Identifier: Apache-2.0
#include "moe/placement/balance.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

namespace braid::moe {
namespace {

using Indices = std::vector<std::int32_t>;

std::size_t at(std::int32_t i) { return static_cast<std::size_t>(i); }

struct Packed {
  Indices pack;      // [items]
  Indices position;  // [items] inside the pack
};

// Equally many items into each of `packs`, heavy ones first, each into the lightest that has room.
Packed pack_evenly(const std::vector<double>& weights, int packs) {
  const auto items = static_cast<std::int32_t>(weights.size());
  const std::int32_t capacity = items / packs;
  Packed packed{Indices(weights.size()), Indices(weights.size(), 0)};
  Indices order(weights.size());
  std::iota(order.begin(), order.end(), 0);
  if (capacity == 1) {
    packed.pack = order;
    return packed;
  }
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return weights[at(a)] > weights[at(b)]; });
  std::vector<double> load(static_cast<std::size_t>(packs), 0);
  Indices filled(static_cast<std::size_t>(packs), 0);
  for (const std::int32_t item : order) {
    std::int32_t best = -1;
    for (std::int32_t p = 0; p < packs; ++p) {
      if (filled[at(p)] < capacity && (best < 0 || load[at(p)] < load[at(best)])) best = p;
    }
    packed.pack[at(item)] = best;
    packed.position[at(item)] = filled[at(best)]++;
    load[at(best)] += weights[at(item)];
  }
  return packed;
}

struct Replicated {
  Indices item;   // [slots]
  Indices copy;   // [slots]
  Indices count;  // [items]
};

// Every slot beyond one an item goes to the item whose copies are the heaviest.
Replicated replicate(const std::vector<double>& weights, std::int32_t slots) {
  const auto items = static_cast<std::int32_t>(weights.size());
  Replicated r{Indices(at(slots)), Indices(at(slots), 0), Indices(weights.size(), 1)};
  std::iota(r.item.begin(), r.item.begin() + items, 0);
  for (std::int32_t s = items; s < slots; ++s) {
    std::int32_t heaviest = 0;
    for (std::int32_t i = 1; i < items; ++i) {
      if (weights[at(i)] / r.count[at(i)] > weights[at(heaviest)] / r.count[at(heaviest)]) heaviest = i;
    }
    r.item[at(s)] = heaviest;
    r.copy[at(s)] = r.count[at(heaviest)]++;
  }
  return r;
}

// The experts in the order of (node, position of their group in it, index in the group).
Indices node_order(std::span<const double> loads, int groups, int nodes) {
  const auto group_size = loads.size() / static_cast<std::size_t>(groups);
  std::vector<double> group_loads;
  for (auto first = loads.begin(); first != loads.end(); first += static_cast<std::ptrdiff_t>(group_size)) {
    group_loads.push_back(std::accumulate(first, first + static_cast<std::ptrdiff_t>(group_size), 0.0));
  }
  const Packed nodes_of = pack_evenly(group_loads, nodes);
  Indices order(loads.size());
  for (std::size_t g = 0; g < group_loads.size(); ++g) {
    const auto place = at(nodes_of.pack[g] * (groups / nodes) + nodes_of.position[g]) * group_size;
    std::iota(order.begin() + static_cast<std::ptrdiff_t>(place),
              order.begin() + static_cast<std::ptrdiff_t>(place + group_size), static_cast<std::int32_t>(g * group_size));
  }
  return order;
}

Status check(std::span<const double> loads, const Topology& t) {
  const auto refuse = [](int n, const char* what, const char* by, int m) {
    return invalid_argument(std::to_string(n) + " " + what + " cannot be divided evenly by " + std::to_string(m) + " " + by +
                            "; choose numbers that divide");
  };
  const int experts = static_cast<int>(loads.size());
  for (const int n : {t.slots, t.groups, t.nodes, t.ranks, experts}) {
    if (n < 1) return invalid_argument("balancing needs at least one expert, slot, group, node and rank");
  }
  if (t.slots < experts) {
    return invalid_argument(std::to_string(t.slots) + " slots cannot hold " + std::to_string(experts) + " experts; add slots");
  }
  if (t.slots % t.ranks != 0) return refuse(t.slots, "slots", "ranks", t.ranks);
  if (t.ranks % t.nodes != 0) return refuse(t.ranks, "ranks", "nodes", t.nodes);
  if (experts % t.groups != 0) return refuse(experts, "experts", "groups", t.groups);
  for (std::size_t e = 0; e < loads.size(); ++e) {
    if (!std::isfinite(loads[e]) || loads[e] < 0) {
      return invalid_argument("the load of expert " + std::to_string(e) + " is " + std::to_string(loads[e]) +
                              "; loads are numbers from 0 on");
    }
  }
  return Status::success();
}

}  // namespace

Result<BalancedSlots> balance(std::span<const double> loads, const Topology& topology) {
  RETURN_IF_ERROR(check(loads, topology));
  const bool hierarchical = topology.groups % topology.nodes == 0;
  const int groups = hierarchical ? topology.groups : 1, nodes = hierarchical ? topology.nodes : 1;
  const Indices order = node_order(loads, groups, nodes);
  const auto experts = static_cast<std::int32_t>(loads.size()) / nodes;
  const std::int32_t slots = topology.slots / nodes, per_rank = topology.slots / topology.ranks;

  BalancedSlots result{Indices(at(topology.slots)), std::vector<Indices>(loads.size())};
  for (std::int32_t node = 0; node < nodes; ++node) {
    std::vector<double> weights;
    for (std::int32_t i = 0; i < experts; ++i) weights.push_back(loads[at(order[at(node * experts + i)])]);
    const Replicated copies = replicate(weights, slots);
    std::vector<double> shares;
    for (const std::int32_t i : copies.item) shares.push_back(weights[at(i)] / copies.count[at(i)]);
    const Packed ranks = pack_evenly(shares, topology.ranks / nodes);
    for (std::int32_t s = 0; s < slots; ++s) {
      const std::int32_t expert = order[at(node * experts + copies.item[at(s)])];
      const std::int32_t slot = node * slots + ranks.pack[at(s)] * per_rank + ranks.position[at(s)];
      auto& places = result.expert_slots[at(expert)];
      places.resize(std::max(places.size(), at(copies.copy[at(s)]) + 1));
      places[at(copies.copy[at(s)])] = slot;
      result.slot_expert[at(slot)] = expert;
    }
  }
  return result;
}

std::vector<double> rank_loads(const Placement& placement, std::span<const double> loads) {
  std::vector<double> result(static_cast<std::size_t>(placement.ranks()), 0);
  for (std::int32_t s = 0; s < placement.slots(); ++s) {
    const std::int32_t e = placement.expert_in(s);
    if (e >= 0) result[at(placement.rank_of(s))] += loads[at(e)] / static_cast<double>(placement.slots_of(e).size());
  }
  return result;
}

double balancedness(std::span<const double> loads) {
  const double most = loads.empty() ? 0 : *std::max_element(loads.begin(), loads.end());
  if (most <= 0) return 1;
  return std::accumulate(loads.begin(), loads.end(), 0.0) / static_cast<double>(loads.size()) / most;
}

Placement keep_in_place(const Placement& held, const Placement& wanted) {
  Indices result(at(wanted.slots()), -1);
  const std::int32_t n = wanted.slots_per_rank();
  for (int rank = 0; rank < wanted.ranks(); ++rank) {
    Indices coming(wanted.experts_of(rank).begin(), wanted.experts_of(rank).end());
    const auto take = [&](std::int32_t expert) {
      const auto found = std::find(coming.begin(), coming.end(), expert);
      if (found == coming.end()) return false;
      coming.erase(found);
      return true;
    };
    Indices open;
    for (std::int32_t s = rank * n; s < (rank + 1) * n; ++s) {
      const std::int32_t expert = held.expert_in(s);
      if (expert >= 0 && take(expert)) result[at(s)] = expert;
      else open.push_back(s);
    }
    for (std::size_t i = 0; i < open.size(); ++i) result[at(open[i])] = coming[i];
  }
  return Placement(wanted.experts(), wanted.ranks(), std::move(result));
}

}  // namespace braid::moe
