// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "fabric/group.h"

namespace braid::testing {

// A number of each rank, in the order of ranks, and the smallest of them. Every rank calls.
inline std::vector<std::uint64_t> gathered(fabric::Bootstrap& b, std::uint64_t mine) {
  const auto texts = b.all_gather(std::to_string(mine)).value();
  std::vector<std::uint64_t> all;
  for (const auto& text : texts) all.push_back(std::stoull(text));
  return all;
}
inline std::uint64_t least(fabric::Bootstrap& b, std::uint64_t mine) {
  const auto all = gathered(b, mine);
  return *std::min_element(all.begin(), all.end());
}

}  // namespace braid::testing
