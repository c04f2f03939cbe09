// SPDX-License-Identifier: Apache-2.0
#include "engine/balanced_engine.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "engine/admission.h"
#include "engine/unfinished.h"

namespace braid::engine {
namespace {

constexpr double kPromptWeight = 1.0 / 16;

double cost(const RankLoad& r) {
  const double work = kPromptWeight * static_cast<double>(r.queued_tokens) + static_cast<double>(r.running_tokens);
  return work * (1 + 6 * std::max(0.0, r.cache_use - 0.5));
}

class Balanced;

// Stands between a rank and a request's subscriber: maps numbers and keeps the books.
class Tap final : public Subscriber {
 public:
  Tap(Balanced& owner, std::size_t rank, std::shared_ptr<Subscriber> to, std::int64_t prompt, std::int64_t budget, int choices)
      : owner_(owner), rank_(rank), to_(std::move(to)), prompt_(prompt), budget_(budget), unfinished_(choices) {}
  void on_tokens(std::vector<TokenMessage>&& messages) override;
  // A choice (-1: every one) was cancelled. True when none is left.
  bool cancel(int index);
  // What the request still weighs is taken off the books.
  void settle();
  bool ended() const { return ended_; }

 private:
  Balanced& owner_;
  const std::size_t rank_;
  const std::shared_ptr<Subscriber> to_;
  std::mutex mutex_;
  std::int64_t prompt_;  // not yet computed
  std::int64_t budget_;  // not yet generated
  Unfinished unfinished_;
  std::atomic<bool> ended_{false};
};

class Balanced final : public Engine {
 public:
  explicit Balanced(std::vector<Engine*> ranks) : ranks_(std::move(ranks)), loads_(ranks_.size()) {}

  Result<std::unique_ptr<Admitted>> admit(SubmitMessage message) override {
    RETURN_IF_ERROR(check_rank(message, ranks_.size()));
    const auto prompt = static_cast<std::int64_t>(message.prompt.size());
    const auto budget = std::int64_t{message.params.max_tokens} * message.params.n;
    const int chosen = message.rank ? *message.rank : pick();
    if (chosen < 0) return Error{ErrorCode::kUnavailable, "no rank is healthy: " + stats().failure, {}};
    auto placed = std::make_unique<Placed>();
    placed->rank = static_cast<std::size_t>(chosen);
    placed->tap = std::make_shared<Tap>(*this, placed->rank, std::move(message.subscriber), prompt, budget, message.params.n);
    add(placed->rank, prompt, budget);
    message.subscriber = placed->tap;
    message.rank.reset();  // it is there
    ASSIGN_OR_RETURN(placed->request, ranks_[placed->rank]->admit(std::move(message)));
    return std::unique_ptr<Admitted>(std::move(placed));
  }

  Result<RequestId> submit(std::unique_ptr<Admitted> admitted) override {
    auto& placed = static_cast<Placed&>(*admitted);
    ASSIGN_OR_RETURN(const RequestId id, ranks_[placed.rank]->submit(std::move(placed.request)));
    const RequestId ours = outer(id, placed.rank);
    const auto tap = std::exchange(placed.tap, nullptr);
    std::lock_guard lock(mutex_);
    if (!tap->ended()) taps_[ours] = tap;
    return ours;
  }

  void cancel(RequestId request, int index) override {
    if (const auto tap = find(request); tap && tap->cancel(index)) forget(request);
    ranks_[request % ranks_.size()]->cancel(request / ranks_.size(), index);
  }

  Stats stats() const override {
    Stats sum;
    for (const Engine* rank : ranks_) {
      const Stats s = rank->stats();
      sum.running += s.running;
      sum.waiting += s.waiting;
      sum.blocks_total += s.blocks_total;
      sum.blocks_used += s.blocks_used;
      sum.blocks_cached += s.blocks_cached;
      sum.steps += s.steps;
      if (s.healthy) continue;
      sum.healthy = false;
      sum.failure += (sum.failure.empty() ? "" : "; ") + s.failure;
    }
    return sum;
  }

  std::int32_t max_model_len() const override { return ranks_.front()->max_model_len(); }
  void reset_prefix_cache() override {
    for (Engine* rank : ranks_) rank->reset_prefix_cache();
  }
  void drain(Duration timeout) override {
    const TimePoint deadline = std::chrono::steady_clock::now() + timeout;
    for (Engine* rank : ranks_) rank->drain(std::max(Duration::zero(), Duration(deadline - std::chrono::steady_clock::now())));
  }

  RequestId outer(RequestId inner, std::size_t rank) const { return inner * ranks_.size() + rank; }
  void forget(RequestId request) {
    std::lock_guard lock(mutex_);
    taps_.erase(request);
  }
  void add(std::size_t rank, std::int64_t prompt, std::int64_t budget) {
    std::lock_guard lock(mutex_);
    loads_[rank].queued_tokens += prompt;
    loads_[rank].running_tokens += budget;
  }

 private:
  // Off the books again unless it is submitted.
  struct Placed final : Admitted {
    ~Placed() override {
      if (tap) tap->settle();
    }
    std::size_t rank = 0;
    std::unique_ptr<Admitted> request;
    std::shared_ptr<Tap> tap;
  };

  std::shared_ptr<Tap> find(RequestId request) {
    std::lock_guard lock(mutex_);
    const auto found = taps_.find(request);
    return found == taps_.end() ? nullptr : found->second;
  }

  int pick() {
    std::lock_guard lock(mutex_);
    for (std::size_t r = 0; r < ranks_.size(); ++r) {
      const Stats s = ranks_[r]->stats();
      loads_[r].healthy = s.healthy;
      loads_[r].cache_use = s.blocks_total > 0 ? static_cast<double>(s.blocks_used) / s.blocks_total : 0;
    }
    return choose_rank(loads_, next_++);
  }

  const std::vector<Engine*> ranks_;
  std::mutex mutex_;
  std::vector<RankLoad> loads_;
  std::size_t next_ = 0;
  std::unordered_map<RequestId, std::shared_ptr<Tap>> taps_;  // of unfinished requests
};

void Tap::on_tokens(std::vector<TokenMessage>&& messages) {
  std::int64_t tokens = 0, prompt = 0;
  {
    std::lock_guard lock(mutex_);
    for (TokenMessage& m : messages) {
      m.request = owner_.outer(m.request, rank_);
      tokens += static_cast<std::int64_t>(m.tokens.size());
      if (m.finish != protocol::FinishReason::kNone && unfinished_.end(m.index)) ended_ = true;
    }
    tokens = std::min(tokens, budget_);
    prompt = std::exchange(prompt_, 0);
    budget_ -= tokens;
  }
  owner_.add(rank_, -prompt, -tokens);
  if (ended_) {
    settle();
    owner_.forget(messages.front().request);
  }
  to_->on_tokens(std::move(messages));
}

bool Tap::cancel(int index) {
  {
    std::lock_guard lock(mutex_);
    if (!unfinished_.end(index)) return false;
  }
  settle();
  return true;
}

void Tap::settle() {
  std::int64_t prompt = 0, budget = 0;
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
    prompt = std::exchange(prompt_, 0);
    budget = std::exchange(budget_, 0);
  }
  owner_.add(rank_, -prompt, -budget);
}

}  // namespace

int choose_rank(const std::vector<RankLoad>& ranks, std::size_t start) {
  int best = -1;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    const std::size_t r = (start + i) % ranks.size();
    if (!ranks[r].healthy) continue;
    if (best < 0 || cost(ranks[r]) < cost(ranks[static_cast<std::size_t>(best)])) best = static_cast<int>(r);
  }
  return best;
}

std::unique_ptr<Engine> balanced_engine(std::vector<Engine*> ranks) { return std::make_unique<Balanced>(std::move(ranks)); }

}  // namespace braid::engine
