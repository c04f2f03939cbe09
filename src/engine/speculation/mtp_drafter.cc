// SPDX-License-Identifier: Apache-2.0
#include "engine/speculation/mtp_drafter.h"

#include <algorithm>

#include "sample/rows.h"

namespace braid::engine {

Status MtpDrafter::draft(std::span<const DraftWork> work, const DraftPlan& plan) {
  follow(work);
  for (int pass = 0; pass < plan.tokens; ++pass) {
    batch_.most_tokens = pass == 0 ? plan.most_tokens : plan.most_sequences;
    const auto from = pass == 0 ? model::DraftFrom::kForward : model::DraftFrom::kDraft;
    ASSIGN_OR_RETURN(const Matrix<const float> logits, module_->draft(batch_, sources_, from, *cache_));
    take(logits);
    go_on();
  }
  return {};
}

void MtpDrafter::follow(std::span<const DraftWork> work) {
  batch_.clear();
  sources_.clear();
  drafting_.clear();
  const auto followed = [](const DraftWork& item) { return item.sequence->followed == item.first; };
  for (const DraftWork& item : work) {
    if (followed(item)) add_prompt_rows(item);
  }
  for (const DraftWork& item : work) {
    if (followed(item)) add_generated_rows(item);
  }
  for (const DraftWork& item : work) {
    if (followed(item)) item.sequence->followed = item.sequence->computed;
  }
}

void MtpDrafter::add_prompt_rows(const DraftWork& item) {
  const Sequence& s = *item.sequence;
  const std::int32_t end = std::min(s.computed, s.prompt_length);
  if (item.first >= end) return;
  batch_.prefill.push_back({static_cast<std::int32_t>(batch_.tokens()), end - item.first, item.first, s.pages.data()});
  for (std::int32_t p = item.first; p < end; ++p) {
    add_row(s, p, s.tokens[static_cast<std::size_t>(p) + 1], item.rows.prompt_row + p - item.first);
  }
  if (end == s.computed) want_draft(item);
}

void MtpDrafter::add_generated_rows(const DraftWork& item) {
  const Sequence& s = *item.sequence;
  const std::int32_t first = std::max(item.first, s.prompt_length);
  if (first >= s.computed) return;
  for (std::int32_t p = first; p < s.computed; ++p) {
    add_row(s, p, s.tokens[static_cast<std::size_t>(p) + 1], item.rows.generated_row + p - first);
    batch_.decode.push_back({p, s.pages.data()});
  }
  want_draft(item);
}

void MtpDrafter::add_row(const Sequence& s, std::int32_t position, std::int32_t token, std::int32_t source) {
  batch_.token_ids.push_back(token);
  batch_.positions.push_back(position);
  batch_.slots.push_back(s.pages.slot(position));
  sources_.push_back(source);
}

void MtpDrafter::want_draft(const DraftWork& item) {
  if (item.wanted == 0) return;
  batch_.logit_rows.push_back(static_cast<std::int32_t>(batch_.tokens()) - 1);
  drafting_.push_back(&item);
}

void MtpDrafter::take(Matrix<const float> logits) {
  const auto columns = static_cast<std::size_t>(logits.cols);
  for (std::size_t i = 0; i < drafting_.size(); ++i) {
    const std::int32_t token = sample::argmax({logits.row(static_cast<std::int64_t>(i)), columns});
    drafting_[i]->sequence->drafts.push_back(std::max(token, 0));
  }
}

// The next pass: one row for each sequence that wants more.
void MtpDrafter::go_on() {
  batch_.clear();
  sources_.clear();
  unfinished_.clear();
  for (std::size_t i = 0; i < drafting_.size(); ++i) {
    const Sequence& s = *drafting_[i]->sequence;
    const auto count = static_cast<std::int32_t>(s.drafts.size());
    if (count >= drafting_[i]->wanted) continue;
    const std::int32_t position = s.length() - 2 + count;
    add_row(s, position, s.drafts.back(), static_cast<std::int32_t>(i));
    batch_.decode.push_back({position, s.pages.data()});
    batch_.logit_rows.push_back(static_cast<std::int32_t>(batch_.tokens()) - 1);
    unfinished_.push_back(drafting_[i]);
  }
  drafting_.swap(unfinished_);
}

}  // namespace braid::engine
