// SPDX-License-Identifier: Apache-2.0
// A rule of placement that never rests.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "moe/placement/placement.h"

namespace braid::testing {

// All experts one slot on, so that nearly every weight moves between ranks now and then.
inline Result<moe::Placement> rotated(const moe::Placement& held, std::span<const double>) {
  std::vector<std::int32_t> slots;
  for (std::int32_t s = 0; s < held.slots(); ++s) slots.push_back(held.expert_in((s + 1) % held.slots()));
  return moe::Placement(held.experts(), held.ranks(), std::move(slots));
}

}  // namespace braid::testing
