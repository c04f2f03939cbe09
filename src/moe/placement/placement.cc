// SPDX-License-Identifier: Apache-2.0
#include "moe/placement/placement.h"

#include "base/check.h"

namespace braid::moe {

Placement::Placement(int experts, int ranks, std::vector<std::int32_t> slot_expert)
    : ranks_(ranks), slot_expert_(std::move(slot_expert)), first_(static_cast<std::size_t>(experts) + 1) {
  CHECK(ranks > 0 && slots() % ranks == 0);
  for (const std::int32_t e : slot_expert_) {
    CHECK(e >= -1 && e < experts);
    if (e >= 0) ++first_[static_cast<std::size_t>(e) + 1];
  }
  for (std::size_t e = 1; e < first_.size(); ++e) {
    CHECK(first_[e] > 0, "an expert without a slot");
    first_[e] += first_[e - 1];
  }
  replicas_.resize(static_cast<std::size_t>(first_.back()));
  std::vector<std::int32_t> at(first_.begin(), first_.end() - 1);
  for (std::int32_t s = 0; s < slots(); ++s) {
    if (expert_in(s) >= 0) replicas_[static_cast<std::size_t>(at[static_cast<std::size_t>(expert_in(s))]++)] = s;
  }
}

Placement Placement::linear(int experts, int ranks, int redundant) {
  const int wanted = experts + redundant;
  std::vector<std::int32_t> slots(static_cast<std::size_t>((wanted + ranks - 1) / ranks * ranks), -1);
  for (int s = 0; s < wanted; ++s) slots[static_cast<std::size_t>(s)] = s < experts ? s : (s - experts) % experts;
  return Placement(experts, ranks, std::move(slots));
}

std::span<const std::int32_t> Placement::slots_of(std::int32_t expert) const {
  const auto begin = static_cast<std::size_t>(first_[static_cast<std::size_t>(expert)]);
  const auto end = static_cast<std::size_t>(first_[static_cast<std::size_t>(expert) + 1]);
  return std::span(replicas_).subspan(begin, end - begin);
}

std::int32_t Placement::slot_for(std::int32_t expert, std::int64_t token) const {
  const auto replicas = slots_of(expert);
  if (replicas.size() == 1) return replicas.front();
  const auto hash = static_cast<std::uint32_t>(token) * 2654435769u;
  return replicas[hash % replicas.size()];
}

std::span<const std::int32_t> Placement::experts_of(int rank) const {
  const auto n = static_cast<std::size_t>(slots_per_rank());
  return std::span(slot_expert_).subspan(static_cast<std::size_t>(rank) * n, n);
}

std::uint64_t Placement::checksum() const {
  std::uint64_t hash = 1469598103934665603u;
  for (const std::int32_t e : slot_expert_) hash = (hash ^ static_cast<std::uint32_t>(e)) * 1099511628211u;
  return hash;
}

}  // namespace braid::moe
