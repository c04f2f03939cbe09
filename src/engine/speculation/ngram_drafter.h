// SPDX-License-Identifier: Apache-2.0
// Drafts by looking up: where the last tokens of a sequence have occurred in it before, what followed
// then is guessed to follow now. Costs no pass of a model.
#pragma once

#include <vector>

#include "engine/speculation/drafter.h"

namespace braid::engine {

class NgramDrafter final : public Drafter {
 public:
  // The longest match of `shortest` to `longest` tokens counts, the latest among equals.
  NgramDrafter(int shortest, int longest) : shortest_(shortest), longest_(longest) {}

  Status draft(std::span<const DraftWork> work, const DraftPlan& plan) override;

  // At most `count` tokens that follow the match; none without one.
  std::span<const std::int32_t> follow(std::span<const std::int32_t> tokens, int count) const;

 private:
  int shortest_;
  int longest_;
};

}  // namespace braid::engine
