// SPDX-License-Identifier: Apache-2.0
// Which rank holds which expert of a layer. A slot is a place for the weights of one expert; every
// rank has the same number of slots, slot s belongs to rank s / slots_per_rank, and an expert has one
// slot or more (replicas). Slots that no expert needs are empty (-1). A value.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace braid::moe {

class Placement {
 public:
  // slot_expert[s]: the expert in slot s, or -1. Every expert has at least one slot; the number of
  // slots is a multiple of `ranks`.
  Placement(int experts, int ranks, std::vector<std::int32_t> slot_expert);

  // Expert e in slot e, then `redundant` further slots with experts 0, 1, 2, ...; empty slots pad
  // the last ranks when the total does not divide.
  static Placement linear(int experts, int ranks, int redundant = 0);

  // What ranks that hold `held` (by rank; -1 and repetitions are ignored) need to hold together: every
  // rank keeps what it has as far as its slots go, giving up first what others hold too; experts that
  // nobody holds, then replicas up to `redundant`, go to the ranks with the most free slots.
  static Placement around(int experts, const std::vector<std::vector<std::int32_t>>& held, int redundant = 0);

  int experts() const { return static_cast<int>(first_.size()) - 1; }
  int ranks() const { return ranks_; }
  int slots() const { return static_cast<int>(slot_expert_.size()); }
  int slots_per_rank() const { return slots() / ranks_; }
  int rank_of(std::int32_t slot) const { return slot / slots_per_rank(); }
  std::int32_t expert_in(std::int32_t slot) const { return slot_expert_[static_cast<std::size_t>(slot)]; }
  std::span<const std::int32_t> slots_of(std::int32_t expert) const;
  // The slot that serves a token's choice: replicas take turns by a hash of the token's row. Ranks add
  // their number to the row, so that those with few tokens use different replicas.
  std::int32_t slot_for(std::int32_t expert, std::int64_t token) const;
  // The experts in the slots of a rank, -1 for empty ones.
  std::span<const std::int32_t> experts_of(int rank) const;

  bool operator==(const Placement&) const = default;
  // Equal on all ranks that hold equal placements.
  std::uint64_t checksum() const;

 private:
  int ranks_;
  std::vector<std::int32_t> slot_expert_;
  std::vector<std::int32_t> first_;     // [experts + 1] into replicas_
  std::vector<std::int32_t> replicas_;  // slots, by expert
};

}  // namespace braid::moe
