// SPDX-License-Identifier: Apache-2.0
#include "engine/speculation/speculation.h"

#include <algorithm>
#include <string>

namespace braid::engine {

Speculation::Speculation(std::unique_ptr<Drafter> drafter, Pace pace, std::int32_t max_model_len, Metrics* metrics)
    : drafter_(std::move(drafter)), pace_(std::move(pace)), max_model_len_(max_model_len), metrics_(metrics) {
  for (int i = 0; i < pace_.most(); ++i) {
    accepted_at_.push_back(&metrics->spec_decode_accepted_by_position.with({std::to_string(i)}));
  }
}

int Speculation::decide(std::size_t sequences) {
  const int tokens = pace_.decide(sequences);
  metrics_->spec_decode_tokens.set(tokens);
  return tokens;
}

Status Speculation::measure(Lockstep& lockstep) {
  ASSIGN_OR_RETURN(Costs costs, measure_(lockstep));
  pace_.learn(std::move(costs));
  measured_ = true;
  return {};
}

Status Speculation::draft(const StepPlan& step, std::span<const ItemRows> rows, const DraftPlan& plan, Scheduler& scheduler) {
  work_.clear();
  for (std::size_t i = 0; i < step.work.size(); ++i) {
    auto& choice = *static_cast<Choice*>(step.work[i].sequence);
    if (choice.state != Sequence::State::kRunning) continue;
    std::int32_t wanted = choice.decoding() && choice.drafts.empty() ? room_for(choice, plan.tokens) : 0;
    if (wanted > 0 && !scheduler.reserve(choice, choice.length() + wanted)) wanted = 0;
    work_.push_back({&choice, step.work[i].first, rows[i], wanted});
  }
  return drafter_->draft(work_, plan);
}

// A draft is of use only if another token can follow it.
std::int32_t Speculation::room_for(const Choice& choice, int tokens) const {
  const std::int32_t output = choice.request->params.max_tokens - choice.generated();
  const std::int32_t positions = max_model_len_ - choice.length();
  return std::clamp(std::min(output, positions) - 1, 0, tokens);
}

void Speculation::observe(int offered, int accepted) {
  pace_.observe(offered, accepted);
  metrics_->spec_decode_drafts.add();
  metrics_->spec_decode_draft_tokens.add(offered);
  metrics_->spec_decode_accepted_tokens.add(accepted);
  for (int i = 0; i < accepted; ++i) accepted_at_[static_cast<std::size_t>(i)]->add();
}

}  // namespace braid::engine
