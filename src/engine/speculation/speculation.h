// SPDX-License-Identifier: Apache-2.0
// Speculative decoding as the loop sees it: decide how much to draft before a step, draft after it,
// and count what came true. Verification is the loop's ordinary sampling (drafter.h says why).
// Thread rules: the engine thread.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "engine/lockstep.h"
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
  // The same, whose pace learns later what passes cost: `measure` times them, together with the ranks
  // that share experts.
  using Measure = std::function<Result<Costs>(Lockstep&)>;
  void measure_with(Measure measure) { measure_ = std::move(measure); }

  int most() const { return pace_.most(); }
  // What passes cost is to be measured, when the ranks agree to.
  bool unmeasured() const { return measure_ && !measured_; }
  Status measure(Lockstep& lockstep);

  // Tokens to draft for each of so many sequences at the end of the step.
  int decide(std::size_t sequences);
  // After the plan was run and committed. plan.tokens is at least 1.
  Status draft(const StepPlan& step, std::span<const ItemRows> rows, const DraftPlan& plan, Scheduler& scheduler);
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
  Measure measure_;
  bool measured_ = false;
};

}  // namespace braid::engine
