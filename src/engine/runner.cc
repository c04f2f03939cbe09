// SPDX-License-Identifier: Apache-2.0
#include "engine/runner.h"

#include <algorithm>
#include <string>

namespace braid::engine {

Result<Matrix<const float>> Runner::run(const StepPlan& plan, std::int64_t most_tokens, bool two_halves) {
  batch_.clear();
  batch_.most_tokens = most_tokens;
  batch_.two_halves = two_halves;
  rows_.assign(plan.work.size(), {});
  for (std::size_t i = 0; i < plan.work.size(); ++i) add_prompt_rows(plan.work[i], rows_[i]);
  for (std::size_t i = 0; i < plan.work.size(); ++i) add_generated_rows(plan.work[i], rows_[i]);
  ASSIGN_OR_RETURN(const Matrix<const float> logits, model_->forward(batch_, *cache_));
  if (logits.rows != static_cast<std::int64_t>(batch_.logit_rows.size())) {
    return internal_error("the model returned " + std::to_string(logits.rows) +
                          " rows of logits instead of " + std::to_string(batch_.logit_rows.size()));
  }
  return logits;
}

void Runner::add_prompt_rows(const PlannedWork& work, ItemRows& rows) {
  const Sequence& s = *work.sequence;
  const std::int32_t end = std::min(s.computed + work.count, s.prompt_length);
  if (s.computed >= end) return;
  rows.prompt_row = static_cast<std::int32_t>(batch_.tokens());
  batch_.prefill.push_back({rows.prompt_row, end - s.computed, s.computed, s.pages.data()});
  rows.prompt_first = static_cast<std::int32_t>(batch_.logit_rows.size());
  for (std::int32_t position = s.computed; position < end; ++position) {
    add_token(s, position, s.tokens[static_cast<std::size_t>(position)]);
    if (position + 1 == s.length()) {
      rows.next = want_logits(draw_of(s, 0));
    } else if (s.wants_prompt_rows && position + 1 < s.prompt_length) {
      want_logits();
      ++rows.prompt_count;
    }
  }
}

void Runner::add_generated_rows(const PlannedWork& work, ItemRows& rows) {
  const Sequence& s = *work.sequence;
  const std::int32_t end = s.computed + work.count;
  rows.generated_row = static_cast<std::int32_t>(batch_.tokens());
  for (std::int32_t position = std::max(s.computed, s.prompt_length); position < end; ++position) {
    add_token(s, position, s.tokens[static_cast<std::size_t>(position)]);
    batch_.decode.push_back({position, s.pages.data()});
    if (position + 1 == s.length()) rows.next = want_logits(draw_of(s, 0));
  }
  for (std::int32_t i = 0; i < work.drafts; ++i) {
    add_token(s, end + i, s.drafts[static_cast<std::size_t>(i)]);
    batch_.decode.push_back({end + i, s.pages.data()});
    want_logits(draw_of(s, i + 1));
  }
}

void Runner::add_token(const Sequence& s, std::int32_t position, std::int32_t token) {
  batch_.token_ids.push_back(token);
  batch_.positions.push_back(position);
  batch_.slots.push_back(s.pages.slot(position));
}

std::optional<std::int32_t> Runner::chosen(std::int32_t row) const {
  const auto at = static_cast<std::size_t>(row);
  if (at >= batch_.draws.size() || batch_.draws[at].by == ops::ChooseTokens::By::kHost) return std::nullopt;
  return model_->chosen()[at];
}

std::int32_t Runner::want_logits(const ops::ChooseTokens::Draw& draw) {
  if (draws_) batch_.draws.push_back(draw);
  batch_.logit_rows.push_back(static_cast<std::int32_t>(batch_.token_ids.size()) - 1);
  return static_cast<std::int32_t>(batch_.logit_rows.size()) - 1;
}

}  // namespace braid::engine
