// SPDX-License-Identifier: Apache-2.0
// When a step is worth computing as two micro-batches (model/micro_batches.h). A rank wants it by its
// own tokens; it is done when all ranks want it.
#pragma once

#include "engine/scheduler.h"
#include "engine/settings.h"

namespace braid::engine {

// A step in which sequences only decode wants it from one threshold on, any other from the other.
inline bool wants_overlap(const OverlapSettings& settings, const StepPlan& plan) {
  if (!settings.enable_dbo) return false;
  for (const PlannedWork& work : plan.work) {
    const bool prompt = work.sequence->computed < work.sequence->prompt_length;
    if (prompt || work.count != 1) return plan.tokens >= settings.prefill_token_threshold;
  }
  return plan.tokens >= settings.decode_token_threshold;
}

}  // namespace braid::engine
