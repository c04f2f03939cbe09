// SPDX-License-Identifier: Apache-2.0
// Speculative decoding as the loop sees it: decide how much to draft before a step, draft after it,
// and count what came true. Verification is the loop's ordinary sampling (drafter.h says why).
// Thread rules: the engine thread.
#pragma once

#include <memory>
#include <vector>

#include "engine/metrics.h"
#include "engine/request.h"
#include "engine/scheduler.h"
#include "engine/speculation/drafter.h"
#include "engine/speculation/pace.h"

namespace braid::engine {

class Speculation {
 public:
  // `metrics` outlives it.
  Speculation(std::unique_ptr<Drafter> drafter, Pace pace, std::int32_t max_model_len, Metrics* metrics);

  int most() const { return pace_.most(); }

  // Drafted tokens per sequence at the end of the step, which is also how often a draft module runs:
  // the one place where that is decided.
  int decide(const StepPlan& plan);
  // After the plan was run and committed. `tokens` as decided, at least 1.
  Status draft(const StepPlan& plan, std::span<const ItemRows> rows, int tokens, Scheduler& scheduler);
  // Of a sequence's `offered` drafts the first `accepted` came true.
  void observe(int offered, int accepted);

 private:
  std::int32_t room_for(const Choice& choice, int tokens) const;

  std::unique_ptr<Drafter> drafter_;
  Pace pace_;
  std::int32_t max_model_len_;
  Metrics* metrics_;
  std::vector<metrics::Counter*> accepted_at_;  // by position
  std::vector<DraftWork> work_;
};

}  // namespace braid::engine
