// SPDX-License-Identifier: Apache-2.0
#include "moe/all2all/outgoing.h"

#include <algorithm>
#include <array>

namespace braid::moe {
namespace {

std::int64_t most_returns(const Outgoing::Options& o) {
  if (o.row_per_choice) return o.top_k;
  return o.everywhere ? o.ranks - 1 : std::min(o.top_k, o.ranks - 1);
}

}  // namespace

Outgoing::Outgoing(const Options& options)
    : options_(options),
      returns_per_token_(most_returns(options)),
      counts_(static_cast<std::size_t>(options.ranks)),
      first_home_(static_cast<std::size_t>(options.ranks)) {}

void Outgoing::plan(const Routing& routing) {
  copies_.clear();
  std::fill(counts_.begin(), counts_.end(), 0);
  for (std::int64_t t = 0; t < routing.tokens; ++t) copy_token(routing, t);
  assign_homes(routing.tokens);
}

void Outgoing::copy_token(const Routing& routing, std::int64_t token) {
  const Placement& placement = *routing.placement;
  const std::size_t first_copy = copies_.size();
  const auto add = [&](int rank) {
    copies_.push_back({static_cast<std::int32_t>(token), rank, counts_[static_cast<std::size_t>(rank)]++, {}});
  };
  std::array<std::pair<std::int32_t, int>, kMaxTopK> routes;  // slot, choice: by rank after sorting
  const std::int64_t first = token * options_.top_k;
  for (int j = 0; j < options_.top_k; ++j) {
    routes[static_cast<std::size_t>(j)] = {placement.slot_for(routing.ids[first + j], options_.rank + routing.first_row + token), j};
  }
  std::sort(routes.begin(), routes.begin() + options_.top_k);
  for (int r = 0; options_.everywhere && r < options_.ranks; ++r) add(r);
  for (int i = 0; i < options_.top_k; ++i) {
    const auto [slot, j] = routes[static_cast<std::size_t>(i)];
    const int rank = placement.rank_of(slot);
    if (!options_.everywhere && (copies_.size() == first_copy || copies_.back().to != rank)) add(rank);
    Ticket& ticket = options_.everywhere ? copies_[first_copy + static_cast<std::size_t>(rank)].ticket : copies_.back().ticket;
    ticket.choice[ticket.choices++] = {static_cast<std::int16_t>(slot - rank * placement.slots_per_rank()),
                                       static_cast<std::int16_t>(j), routing.weights[first + j]};
  }
}

void Outgoing::assign_homes(std::int64_t tokens) {
  std::int32_t next = 0;
  for (int r = 0; r < options_.ranks; ++r) {
    const auto i = static_cast<std::size_t>(r);
    first_home_[i] = next;
    if (r != options_.rank) next += counts_[i];
  }
  home_rows_.clear();
  home_starts_.assign(1, 0);
  std::size_t c = 0;
  for (std::int32_t t = 0; t < tokens; ++t) {
    for (std::int32_t nth = 0; c < copies_.size() && copies_[c].token == t; ++c) {
      Copy& copy = copies_[c];
      const bool own = copy.to == options_.rank;
      const auto free = static_cast<std::int32_t>(t * returns_per_token_);
      if (options_.row_per_choice) copy.ticket.first_return = free;
      else if (own) copy.ticket.first_return = t;
      else if (options_.by_destination) copy.ticket.first_return = first_home_[static_cast<std::size_t>(copy.to)] + copy.place;
      else copy.ticket.first_return = free + nth++;
      if (!own && !options_.row_per_choice) home_rows_.push_back(copy.ticket.first_return);
    }
    for (int j = 0; options_.row_per_choice && j < options_.top_k; ++j) {
      home_rows_.push_back(static_cast<std::int32_t>(t * returns_per_token_) + j);
    }
    home_starts_.push_back(static_cast<std::int32_t>(home_rows_.size()));
  }
}

}  // namespace braid::moe
