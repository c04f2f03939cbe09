// SPDX-License-Identifier: Apache-2.0
#include "engine/speculation/ngram_drafter.h"

#include <algorithm>

namespace braid::engine {

Status NgramDrafter::draft(std::span<const DraftWork> work, const DraftPlan&) {
  for (const DraftWork& item : work) {
    if (item.wanted == 0) continue;
    const auto found = follow(item.sequence->tokens, item.wanted);
    item.sequence->drafts.assign(found.begin(), found.end());
  }
  return {};
}

std::span<const std::int32_t> NgramDrafter::follow(std::span<const std::int32_t> tokens, int count) const {
  const auto size = static_cast<std::ptrdiff_t>(tokens.size());
  std::ptrdiff_t best = 0, best_end = 0;
  for (std::ptrdiff_t end = size - 1; end >= shortest_ && best < longest_; --end) {
    std::ptrdiff_t length = 0;
    const std::ptrdiff_t most = std::min<std::ptrdiff_t>(longest_, end);
    while (length < most && tokens[static_cast<std::size_t>(end - 1 - length)] ==
                                tokens[static_cast<std::size_t>(size - 1 - length)]) {
      ++length;
    }
    if (length < shortest_ || length <= best) continue;
    best = length;
    best_end = end;
  }
  if (best == 0) return {};
  const auto left = std::min<std::ptrdiff_t>(count, size - best_end);
  return tokens.subspan(static_cast<std::size_t>(best_end), static_cast<std::size_t>(left));
}

}  // namespace braid::engine
