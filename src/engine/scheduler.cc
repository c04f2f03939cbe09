// SPDX-License-Identifier: Apache-2.0
#include "engine/scheduler.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace braid::engine {
namespace {

// Generated tokens among the next `count`.
std::int32_t generated_rows(const Sequence& s, std::int32_t count) {
  return std::max(0, s.computed + count - std::max(s.computed, s.prompt_length));
}

}  // namespace

void StepPlan::clear() {
  work.clear();
  admitted.clear();
  preempted.clear();
  fetching.clear();
  tokens = 0;
}

bool Scheduler::Before::operator()(const Sequence* a, const Sequence* b) const {
  return std::tie(a->priority, a->arrival, a->index) < std::tie(b->priority, b->arrival, b->index);
}

Scheduler::Scheduler(const SchedulerLimits& limits, kv::BlockPool* pool, kv::EventLog* log)
    : limits_(limits), pool_(pool), log_(log) {}

void Scheduler::add(Sequence& sequence) {
  sequence.state = Sequence::State::kWaiting;
  waiting_.insert(&sequence);
}

void Scheduler::remove(Sequence& sequence) {
  if (sequence.state == Sequence::State::kWaiting) waiting_.erase(&sequence);
  if (sequence.state == Sequence::State::kRunning) std::erase(running_, &sequence);
  if (sequence.state == Sequence::State::kFetching) --fetching_;
  sequence.pages.release(*pool_);
  sequence.state = Sequence::State::kFinished;
}

void Scheduler::plan(StepPlan& plan) {
  plan.clear();
  token_budget_ = limits_.max_batched_tokens;
  decode_budget_ = limits_.max_sequences * (1 + limits_.max_drafts);
  draft_budget_ = std::min(token_budget_, decode_budget_);
  order_.assign(running_.begin(), running_.end());
  for (Sequence* sequence : order_) {
    sequence->planned = 0;
    draft_budget_ -= sequence->decoding();
  }
  for (Sequence* sequence : order_) {
    if (sequence->decoding()) plan_running(*sequence, plan);
  }
  for (Sequence* sequence : order_) {
    if (sequence->planned == 0) plan_running(*sequence, plan);
  }
  while (plan.preempted.empty() && !waiting_.empty() &&
         running_.size() + fetching_ < static_cast<std::size_t>(limits_.max_sequences)) {
    if (!admit(**waiting_.begin(), plan)) break;
  }
}

void Scheduler::plan_running(Sequence& sequence, StepPlan& plan) {
  if (sequence.state != Sequence::State::kRunning) return;
  const std::int32_t count = affordable(sequence);
  if (count > 0 && make_room(sequence, sequence.computed + count, plan)) {
    schedule(sequence, count, affordable_drafts(sequence), plan);
  }
}

std::int32_t Scheduler::affordable_drafts(Sequence& s) {
  const auto wanted = static_cast<std::int32_t>(s.drafts.size());
  const std::int32_t count = std::clamp(draft_budget_, 0, wanted);
  if (count == 0 || !s.pages.grow(*pool_, s.length() + count)) return 0;
  draft_budget_ -= count;
  return count;
}

std::int32_t Scheduler::affordable(const Sequence& s) const {
  std::int32_t count = std::min(s.pending(), token_budget_);
  if (limits_.long_prefill_threshold > 0 && s.computed < s.prompt_length) {
    count = std::min(count, limits_.long_prefill_threshold);
  }
  return count - std::max(0, generated_rows(s, count) - decode_budget_);
}

bool Scheduler::make_room(Sequence& sequence, std::int32_t tokens, StepPlan& plan) {
  while (!sequence.pages.grow(*pool_, tokens)) {
    Sequence* victim = *std::max_element(running_.begin(), running_.end(), Before());
    preempt(*victim, plan);
    if (victim == &sequence) return false;
  }
  return true;
}

void Scheduler::preempt(Sequence& victim, StepPlan& plan) {
  if (victim.planned > 0) {
    std::erase_if(plan.work, [&](const PlannedWork& w) { return w.sequence == &victim; });
    token_budget_ += victim.planned;
    decode_budget_ += generated_rows(victim, victim.planned);
    plan.tokens -= victim.planned;
    victim.planned = 0;
  }
  plan.preempted.push_back(&victim);
  requeue(victim);
}

void Scheduler::requeue(Sequence& s) {
  std::erase(running_, &s);
  s.pages.release(*pool_);
  s.computed = 0;
  s.named_blocks = 0;
  s.followed = 0;
  s.drafts.clear();
  s.drafts_forced = false;
  add(s);
}

void Scheduler::schedule(Sequence& sequence, std::int32_t count, std::int32_t drafts, StepPlan& plan) {
  sequence.planned = count + drafts;
  token_budget_ -= sequence.planned;
  decode_budget_ -= generated_rows(sequence, sequence.planned);
  plan.tokens += sequence.planned;
  plan.work.push_back({&sequence, sequence.computed, count, drafts});
}

Scheduler::Reusable::Block Scheduler::reusable_block(const Sequence& s, int group, std::int32_t index) const {
  Reusable::Block found{group, index};
  if (limits_.prefix_caching) {
    const prefix::BlockHash& hash = s.hashes.blocks()[static_cast<std::size_t>(index)];
    found.block = pool_->find(hash, group);
    if (!found.here() && pool_->tier() != nullptr) found.slot = pool_->tier()->find(hash, group);
  } else if (s.leader->pages.holds(group, index)) {
    found.block = s.leader->pages.at(group, index);
  }
  return found;
}

// The most blocks behind which every group has what the next token sees.
std::int32_t Scheduler::reusable_end(Sequence& s) const {
  if (s.wants_prompt_rows) return 0;
  const kv::Paging& paging = s.pages.paging();
  // At least one token must be computed, or there would be no logits.
  std::int32_t most = (s.length() - 1) / paging.block_size;
  if (limits_.prefix_caching) {
    s.hashes.extend(s.tokens);
    most = std::min(most, static_cast<std::int32_t>(s.hashes.blocks().size()));
  } else if (s.leader != nullptr && s.leader->state == Sequence::State::kRunning) {
    most = std::min(most, std::min(s.leader->computed, s.prompt_length) / paging.block_size);
  } else {
    return 0;
  }
  std::vector<std::int32_t> here_from(static_cast<std::size_t>(paging.groups->size()), 0);
  std::int32_t longest = 0;
  for (std::int32_t end = 1; end <= most; ++end) {
    bool whole = true;
    for (int g = 0; g < paging.groups->size(); ++g) {
      std::int32_t& from = here_from[static_cast<std::size_t>(g)];
      if (!reusable_block(s, g, end - 1).anywhere()) from = end;
      if (paging.groups->span(g).all() && from > 0) return longest;
      whole = whole && from <= paging.first_block(g, std::int64_t{end} * paging.block_size);
    }
    if (whole) longest = end;
  }
  return longest;
}

Scheduler::Reusable Scheduler::reusable(Sequence& s) const {
  const kv::Paging& paging = s.pages.paging();
  Reusable reused{reusable_end(s), {}};
  const std::int32_t next = std::max(reused.end * paging.block_size, s.remote_tokens);
  for (int g = 0; g < paging.groups->size(); ++g) {
    for (std::int32_t i = paging.first_block(g, next); i < reused.end; ++i) reused.blocks.push_back(reusable_block(s, g, i));
  }
  return reused;
}

bool Scheduler::admit(Sequence& s, StepPlan& plan) {
  if (token_budget_ == 0) return false;
  Reusable reused = reusable(s);
  const auto here = std::ranges::count_if(reused.blocks, &Reusable::Block::here);
  const auto revived = std::ranges::count_if(reused.blocks, [&](const auto& b) { return b.here() && pool_->references(b.block) == 0; });
  s.computed = reused.end * s.pages.block_size();
  const std::int64_t wanted = s.pages.paging().most_blocks_from(std::max(s.computed, s.remote_tokens), s.length());
  if (wanted - here + revived > pool_->free()) {
    s.computed = 0;
    return false;
  }
  if (s.remote_tokens > s.computed) {
    give_blocks(s, reused);
    admit_to_fetch(s, plan);
    return true;
  }
  const std::int32_t count = affordable(s);
  const bool whole_prompt_first = !limits_.chunked_prefill && s.generated() == 0;
  if (count == 0 || (whole_prompt_first && count < s.pending())) {
    s.computed = 0;
    return false;
  }
  s.remote_tokens = 0;
  give_blocks(s, reused);
  running_.push_back(&s);
  s.state = Sequence::State::kRunning;
  plan.admitted.push_back(&s);
  schedule(s, count, 0, plan);
  return true;
}

void Scheduler::give_blocks(Sequence& s, Reusable& reused) {
  s.followed = s.computed;
  s.pages.begin(std::max(s.computed, s.remote_tokens));
  s.named_blocks = limits_.prefix_caching ? reused.end : 0;
  s.named_since = pool_->forgotten();
  for (const auto& b : reused.blocks) {
    if (b.here()) pool_->acquire(b.block);
  }
  restore(s, reused);
  for (const auto& b : reused.blocks) s.pages.adopt(b.group, b.block);
  s.pages.reserve(*pool_, s.length());
  if (s.cached_tokens < 0) s.cached_tokens = s.computed;
  waiting_.erase(&s);
}

// Blocks from the host tier get blocks of the cache. Held, because what these held before goes there.
void Scheduler::restore(Sequence& s, Reusable& reused) {
  std::vector<Reusable::Block*> blocks;
  for (auto& b : reused.blocks) {
    if (!b.here()) blocks.push_back(&b);
  }
  std::ranges::stable_sort(blocks, {}, &Reusable::Block::index);  // so that events tell parents first
  for (const auto* b : blocks) pool_->tier()->hold(b->slot);
  for (auto* b : blocks) {
    b->block = pool_->allocate();
    pool_->tier()->restore(b->slot, b->block);
    name_block(s, b->group, b->index, b->block);
  }
  for (auto b = blocks.rbegin(); b != blocks.rend(); ++b) pool_->tier()->let_go((*b)->slot);
  std::int32_t last = -1, different = 0;
  for (const auto* b : blocks) different += std::exchange(last, b->index) != b->index;
  if (s.cached_tokens < 0) s.restored_tokens = different * s.pages.block_size();
}

void Scheduler::admit_to_fetch(Sequence& s, StepPlan& plan) {
  s.state = Sequence::State::kFetching;
  ++fetching_;
  plan.fetching.push_back(&s);
}

void Scheduler::fetched(Sequence& s) {
  --fetching_;
  s.fetched_tokens = s.remote_tokens - s.computed;
  s.remote_tokens = 0;
  s.state = Sequence::State::kRunning;
  running_.push_back(&s);
  commit(s, s.fetched_tokens);
  s.followed = std::min(s.remote_followed, s.computed);
}

void Scheduler::withdraw(Sequence& s) {
  --fetching_;
  s.pages.release(*pool_);
  s.computed = 0;
  s.named_blocks = 0;
  s.cached_tokens = -1;
  s.state = Sequence::State::kNew;
}

void Scheduler::not_fetched(Sequence& s) {
  s.remote_tokens = 0;
  if (s.state == Sequence::State::kFetching) withdraw(s);
  if (s.state != Sequence::State::kWaiting) add(s);
}

void Scheduler::commit(Sequence& sequence, std::int32_t count) {
  sequence.computed += count;
  if (limits_.prefix_caching) name_full_blocks(sequence);
  sequence.pages.slide(*pool_, sequence.computed, sequence.length());
}

void Scheduler::name_full_blocks(Sequence& s) {
  const std::int32_t full = s.computed / s.pages.block_size();
  if (full == s.named_blocks) return;
  s.hashes.extend(s.tokens);
  if (s.named_blocks == 0) s.named_since = pool_->forgotten();
  // The cache was cleared meanwhile: nobody could find these blocks.
  if (s.named_since != pool_->forgotten()) return;
  for (; s.named_blocks < full; ++s.named_blocks) {
    for (int g = 0; g < s.pages.groups(); ++g) {
      if (s.pages.holds(g, s.named_blocks)) name_block(s, g, s.named_blocks, s.pages.at(g, s.named_blocks));
    }
  }
}

void Scheduler::name_block(const Sequence& s, int group, std::int32_t index, kv::BlockId block) {
  const auto i = static_cast<std::size_t>(index), size = static_cast<std::size_t>(s.pages.block_size());
  const prefix::BlockHash& hash = s.hashes.blocks()[i];
  if (!pool_->name(block, hash, group) || group != 0 || log_ == nullptr) return;
  const prefix::BlockHash parent = index == 0 ? prefix::BlockHash() : s.hashes.blocks()[i - 1];
  log_->stored(parent, hash, std::span(s.tokens).subspan(i * size, size), s.hashes.salt());
}

}  // namespace braid::engine
