// SPDX-License-Identifier: Apache-2.0
#include "planning/rank.h"

#include <algorithm>
#include <cmath>

namespace braid::planning {
namespace {

// `count` tokens that the id alone decides.
void append_tokens(std::vector<std::int32_t>& tokens, std::uint64_t id, int count) {
  std::uint64_t state = (id + 1) * 0x9e3779b97f4a7c15;
  for (int i = 0; i < count; ++i) {
    tokens.push_back(static_cast<std::int32_t>(state >> 40));
    state += 0xd1342543de82ef95;
  }
}

std::vector<std::int32_t> prompt_of(const TrafficRequest& request) {
  std::vector<std::int32_t> tokens;
  tokens.reserve(static_cast<std::size_t>(request.input + request.output));
  for (const std::uint64_t id : request.blocks) {
    append_tokens(tokens, id, std::min(kTraceBlock, request.input - static_cast<int>(tokens.size())));
  }
  return tokens;
}

}  // namespace

Rank::Rank(const RankOptions& options, prefix::BlockHasher* hasher)
    : options_(options), hasher_(hasher), pool_(options.blocks), scheduler_(options.limits, &pool_) {}

void Rank::submit(const Job& job) {
  settle();
  auto live = std::make_unique<Live>();
  live->job = job;
  live->sequence = std::make_unique<engine::Sequence>(prompt_of(*job.traffic), options_.block_size, hasher_, "");
  live->sequence->arrival = arrivals_++;
  scheduler_.add(*live->sequence);
  const engine::Sequence* key = live->sequence.get();
  live_.emplace(key, std::move(live));
  planned_ = false;
}

const RankWork& Rank::work() {
  if (!planned_) plan();
  return work_;
}

void Rank::plan() {
  settle();
  for (auto& [sequence, each] : live_) {
    if (options_.drafts > 0 && sequence->decoding()) each->sequence->drafts.assign(static_cast<std::size_t>(options_.drafts), 0);
  }
  scheduler_.plan(plan_);
  preemptions_ += static_cast<std::int64_t>(plan_.preempted.size());
  for (const auto* sequence : plan_.admitted) cached_tokens_ += sequence->computed;
  work_ = {};
  steady_ = plan_.work.size() == scheduler_.running() && plan_.preempted.empty();
  for (const auto& item : plan_.work) {
    const engine::Sequence& s = *item.sequence;
    const double first = item.first, count = item.count;
    if (s.decoding()) {
      const double rows = count + item.drafts;
      work_.decode_rows += rows;
      work_.decode_keys += rows * s.length();
      work_.logits += rows;
      continue;
    }
    steady_ = false;
    const bool last = item.first + item.count == s.length();
    if (last) work_.logits += 1;
    if (options_.imports && s.generated() == 0) continue;
    work_.prefill_rows += count;
    work_.prefill_pairs += count * first + count * (count + 1) / 2;
  }
  steps_left_ = steady_ && !plan_.work.empty() ? horizon() : 1;
  planned_ = true;
}

std::int64_t Rank::horizon() const {
  std::int64_t steps = std::int64_t{1} << 30;
  for (const auto& item : plan_.work) {
    const Live& each = *live_.at(item.sequence);
    const double left = each.job.output - item.sequence->generated() - each.owed;
    steps = std::min(steps, static_cast<std::int64_t>(std::ceil(left / options_.tokens_per_step)));
  }
  for (steps = std::max<std::int64_t>(steps, 1); steps > 1; steps /= 2) {
    std::int64_t missing = 0;
    const auto tokens = static_cast<std::int32_t>(std::ceil(static_cast<double>(steps) * options_.tokens_per_step)) + 1 + options_.drafts;
    for (const auto& item : plan_.work) missing += item.sequence->pages.missing(item.sequence->length() + tokens);
    if (missing <= pool_.free()) break;
  }
  return steps;
}

std::int64_t Rank::steady_steps() {
  work();
  return steps_left_;
}

void Rank::advance(std::int64_t steps, Events& events) {
  if (plan_.work.empty()) {
    planned_ = false;
    return;
  }
  steps_due_ += steps;
  steps_left_ -= steps;
  work_.decode_keys += work_.decode_rows * static_cast<double>(steps) * options_.tokens_per_step;
  if (steps_left_ > 0) return;
  settle();
  planned_ = false;
  std::vector<engine::Sequence*> done;
  for (const auto& item : plan_.work) {
    Live& each = live(item.sequence);
    if (each.sequence->generated() == 0) continue;
    if (!each.started) events.started.push_back(each.job.request);
    each.started = true;
    if (each.sequence->generated() >= each.job.output) done.push_back(item.sequence);
  }
  for (engine::Sequence* sequence : done) {
    events.finished.push_back(live(sequence).job.request);
    scheduler_.remove(*sequence);
    live_.erase(sequence);
  }
}

// Brings the sequences up to the steps that went by.
void Rank::settle() {
  if (steps_due_ == 0) return;
  const std::int64_t steps = std::exchange(steps_due_, 0);
  for (const auto& item : plan_.work) {
    Live& each = live(item.sequence);
    engine::Sequence& s = *each.sequence;
    s.drafts.clear();
    if (s.decoding()) {
      generate(each, steps);
      continue;
    }
    scheduler_.commit(s, item.count);
    if (s.pending() == 0) s.tokens.push_back(0);
  }
  planned_ = false;
}

void Rank::generate(Live& each, std::int64_t steps) {
  engine::Sequence& s = *each.sequence;
  each.owed += static_cast<double>(steps) * options_.tokens_per_step;
  const auto tokens = static_cast<std::int32_t>(std::min<double>(std::floor(each.owed + 1e-9), each.job.output - s.generated()));
  if (tokens == 0 || !scheduler_.reserve(s, s.computed + tokens)) return;
  each.owed -= tokens;
  for (std::int32_t i = 0; i < tokens; ++i) s.tokens.push_back(i);
  scheduler_.commit(s, tokens);
}

}  // namespace braid::planning
