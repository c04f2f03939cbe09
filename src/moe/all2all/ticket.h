// SPDX-License-Identifier: Apache-2.0
// What travels with a token's row to a rank: which of its experts work on it, with what weights, and
// where in the source's window their results go.
#pragma once

#include <cstddef>
#include <cstdint>

namespace braid::moe {

inline constexpr int kMaxTopK = 32;

struct Ticket {
  struct Choice {
    std::int16_t slot = 0;   // local to the destination
    std::int16_t index = 0;  // j of the token's choices
    float weight = 0;
  };

  std::int32_t first_return = 0;  // row of the source's returns; when each choice has one: of choice 0
  std::int32_t choices = 0;
  Choice choice[kMaxTopK];

  static constexpr std::size_t bytes(int choices) { return 2 * sizeof(std::int32_t) + static_cast<std::size_t>(choices) * sizeof(Choice); }
  std::size_t bytes() const { return bytes(choices); }
};
static_assert(sizeof(Ticket) == Ticket::bytes(kMaxTopK));

}  // namespace braid::moe
