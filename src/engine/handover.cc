// SPDX-License-Identifier: Apache-2.0
#include "engine/handover.h"

#include <algorithm>

namespace braid::engine {

using transfer::News;

Handover::Handover(transfer::Node* node, kv::BlockPool* pool, Metrics* metrics, bool by_module)
    : node_(node), pool_(pool), metrics_(metrics), by_module_(by_module) {}

std::string Handover::hold(Choice& c, TimePoint now) {
  if (c.promised) return fulfil(c, now);
  transfer::Lender::Blocks held;
  held.tokens = std::min(c.computed, c.prompt_length);
  held.blocks = c.pages.entries(held.tokens);
  // A window may have left behind what a reader needs, which computes at least the last token.
  if (!c.pages.covers(held.tokens - 1)) held.tokens = 0;
  held.followed = std::min(c.followed, held.tokens);
  held.digest = transfer::digest_of(c.tokens.data(), held.tokens);
  if (held.tokens == c.prompt_length && c.generated() > 0) held.next = c.tokens[static_cast<std::size_t>(c.prompt_length)];
  for (const kv::BlockId block : held.blocks) {
    if (block != kv::kNoBlock) pool_->acquire(block);
  }
  return node_->lender()->hold(std::move(held), now);
}

std::vector<std::pair<Choice*, std::string>> Handover::promise(const StepPlan& plan) {
  std::vector<std::pair<Choice*, std::string>> told;
  for (const PlannedWork& work : plan.work) {
    auto& choice = *static_cast<Choice*>(work.sequence);
    const transfer::Params& asked = choice.request->transfer;
    if (!lends() || !asked.hold || !asked.early || choice.index != 0) continue;
    if (std::string params = promise(choice, work.first + work.count); !params.empty()) told.emplace_back(&choice, std::move(params));
  }
  return told;
}

std::string Handover::promise(Choice& c, std::int32_t end) {
  std::string params;
  auto found = promises_.find(&c);
  if (found == promises_.end()) {
    if (c.promised) return params;  // its reader does not want it
    c.promised = true;
    auto promised = node_->lender()->promise(c.prompt_length, transfer::digest_of(c.tokens.data(), c.prompt_length), c.computed);
    params = std::move(promised.params);
    found = promises_.emplace(&c, Promised{std::move(promised.id)}).first;
  }
  if (!extend(found, std::min(end, c.prompt_length))) promises_.erase(found);
  return params;
}

bool Handover::extend(Promises::iterator found, std::int32_t tokens) {
  auto& [choice, promised] = *found;
  const std::int32_t end = choice->pages.paging().blocks_to(tokens);
  if (end <= promised.blocks) return true;
  const auto blocks = acquire(*choice, promised.blocks, end);
  promised.blocks = end;
  if (node_->lender()->extend(promised.id, blocks)) return true;
  for (const kv::BlockId block : blocks) {
    if (block != kv::kNoBlock) pool_->release(block);
  }
  return false;
}

// Of groups that see only a window or a chunk, what a reader will need, which computes at least the last token.
std::vector<kv::BlockId> Handover::acquire(const Choice& c, std::int32_t first, std::int32_t end) {
  const kv::Paging& paging = c.pages.paging();
  std::vector<kv::BlockId> blocks;
  for (std::int32_t i = first; i < end; ++i) {
    for (int g = 0; g < c.pages.groups(); ++g) {
      const bool needed = i >= paging.first_block(g, c.prompt_length - 1) && c.pages.holds(g, i);
      blocks.push_back(needed ? c.pages.at(g, i) : kv::kNoBlock);
      if (needed) pool_->acquire(blocks.back());
    }
  }
  return blocks;
}

void Handover::publish() {
  for (auto& [choice, promised] : promises_) {
    const std::int32_t computed = std::min(choice->computed, choice->prompt_length);
    const std::int32_t followed = std::min(choice->followed, computed);
    node_->lender()->publish(promised.id, by_module_ ? followed : computed, followed);
  }
}

void Handover::rewind(Choice& c) {
  const auto found = promises_.find(&c);
  if (found == promises_.end()) return;
  node_->lender()->rewind(found->second.id);
  found->second.blocks = 0;
}

std::string Handover::fulfil(Choice& c, TimePoint now) {
  const auto found = promises_.find(&c);
  if (found == promises_.end()) return {};
  const Promised promised = std::move(found->second);
  promises_.erase(found);
  const bool whole = c.computed >= c.prompt_length && c.generated() > 0;
  const std::int32_t next = whole ? c.tokens[static_cast<std::size_t>(c.prompt_length)] : -1;
  const std::int32_t tokens = std::min(c.computed, c.prompt_length);
  return node_->lender()->fulfil(promised.id, tokens, std::min(c.followed, tokens), next, now);
}

bool Handover::ask(Choice& c) {
  const auto& source = c.request->transfer.source;
  if (!source || node_->borrower() == nullptr) return false;
  if (c.wants_prompt_rows) {
    node_->borrower()->decline(*source);
    return false;
  }
  c.fetch = node_->borrower()->open(*source, {c.tokens.begin(), c.tokens.begin() + c.prompt_length});
  choices_[c.fetch] = &c;
  return true;
}

// The engine that computed the prompt has chosen what comes next, for the same request and so the same parameters, but perhaps
// not for as many tokens: an end is left to this one. A draft module must see the last token of the prompt computed. While the
// prompt is being computed, it will presumably be none.
bool Handover::brings_first(const Choice& choice, const News& news, const Vocabulary& vocabulary) const {
  const auto& params = choice.request->params;
  const auto is_end = [&](const std::vector<std::int32_t>& ids) { return std::ranges::find(ids, news.next) != ids.end(); };
  const bool wanted = params.max_tokens > 0 && !params.logprobs && !choice.request->transfer.hold && !by_module_ && !choice.sampler.masked();
  if (!wanted || news.growing) return wanted;
  return news.next >= 0 && news.next < vocabulary.size && !is_end(vocabulary.eos_ids) && !is_end(params.stop_token_ids);
}

void Handover::read(Choice& c) {
  node_->borrower()->read(c.fetch, {c.computed, c.remote_tokens, c.pages.entries(c.remote_tokens)});
}

void Handover::abandon(Choice& c) {
  if (const auto found = promises_.find(&c); found != promises_.end()) {
    node_->lender()->drop(found->second.id);
    promises_.erase(found);
  }
  if (c.fetch == 0) return;
  node_->borrower()->end(c.fetch);
  if (c.state == Sequence::State::kFetching) {
    orphans_.emplace(c.fetch, std::exchange(c.pages, kv::PageTable(c.pages.paging())));
  }
  choices_.erase(c.fetch);
  c.fetch = 0;
}

std::vector<Handover::Arrival> Handover::turn(TimePoint now) {
  std::vector<Arrival> arrivals;
  if (lends()) {
    const auto ended = node_->lender()->collect(now);
    for (const kv::BlockId block : ended.blocks) {
      if (block != kv::kNoBlock) pool_->release(block);
    }
    metrics_->kv_expired_holds.add(ended.expired);
  }
  if (node_->borrower() == nullptr) return arrivals;
  for (News& news : node_->borrower()->news()) {
    const bool over = news.kind == News::Kind::kRead || news.kind == News::Kind::kFailed;
    if (const auto orphan = orphans_.find(news.fetch); news.kind != News::Kind::kGranted && orphan != orphans_.end()) {
      orphan->second.release(*pool_);
      orphans_.erase(orphan);
    }
    const auto found = choices_.find(news.fetch);
    if (found == choices_.end()) continue;
    Choice* const choice = found->second;
    note(news);
    if (over) {
      choices_.erase(found);
      choice->fetch = 0;
    }
    arrivals.push_back({choice, std::move(news)});
  }
  return arrivals;
}

void Handover::note(const News& news) {
  if (news.kind == News::Kind::kFailed) metrics_->kv_failed_transfers.add();
  if (news.kind != News::Kind::kRead) return;
  metrics_->kv_transfer_time.observe(news.seconds);
  metrics_->kv_transfer_bytes.observe(static_cast<double>(news.bytes));
}

}  // namespace braid::engine
