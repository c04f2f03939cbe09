// SPDX-License-Identifier: Apache-2.0
// Guesses the tokens that come next, so that one step can check several tokens of a sequence.
//
// A draft is a suggestion only: what a sequence gains is decided by sampling from the model's own
// logits, in order, for as long as the sampled token is the drafted one. Output is therefore the same
// token for token with any drafter and with none, also at a temperature: for drafts that are certain
// of themselves this is the rejection rule of Leviathan et al. (2211.17192), which accepts draft d
// with probability p(d) and else draws from p without d.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "engine/runner.h"
#include "engine/sequence.h"

namespace braid::engine {

// A sequence of the step that was just committed: tokens [first, sequence->computed) were computed in
// it, by the batch rows that `rows` tells, and tokens up to the last are known.
struct DraftWork {
  Sequence* sequence = nullptr;
  std::int32_t first = 0;
  ItemRows rows;
  std::int32_t wanted = 0;  // most drafts; 0: the drafter may only take note of the step
};

// How a step ends that drafts. Ranks that share experts have agreed on it.
struct DraftPlan {
  int tokens = 0;  // for each sequence, at most; 0: nothing is drafted
  // The largest number of any rank in this step, of tokens and of sequences; 0 when alone.
  std::int64_t most_tokens = 0;
  std::int64_t most_sequences = 0;
};

class Drafter {
 public:
  virtual ~Drafter() = default;
  // Appends to the `drafts` of each sequence that wants some, which are empty. REQUIRES: the cache has room for
  // `wanted` tokens behind the last; no `wanted` is above plan.tokens, which is at least 1.
  // A drafter that runs a model runs it exactly plan.tokens times, with empty batches if need be: ranks
  // that share experts must keep in step. After an error sequences may have any number of drafts.
  virtual Status draft(std::span<const DraftWork> work, const DraftPlan& plan) = 0;
};

}  // namespace braid::engine
