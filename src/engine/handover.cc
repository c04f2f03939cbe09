// SPDX-License-Identifier: Apache-2.0
#include "engine/handover.h"

#include <algorithm>

namespace braid::engine {

using transfer::News;

Handover::Handover(transfer::Node* node, kv::BlockPool* pool, Metrics* metrics) : node_(node), pool_(pool), metrics_(metrics) {}

std::string Handover::hold(Choice& c, TimePoint now) {
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

void Handover::read(Choice& c) {
  node_->borrower()->read(c.fetch, {c.computed, c.remote_tokens, c.pages.entries(c.remote_tokens)});
}

void Handover::abandon(Choice& c) {
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
    const bool over = news.kind != News::Kind::kGranted;
    if (const auto orphan = orphans_.find(news.fetch); over && orphan != orphans_.end()) {
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
