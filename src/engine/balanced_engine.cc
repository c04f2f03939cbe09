// SPDX-License-Identifier: Apache-2.0
#include "engine/balanced_engine.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "base/log.h"
#include "engine/admission.h"
#include "engine/placed_request.h"

namespace braid::engine {
namespace {

constexpr double kPromptWeight = 1.0 / 16;
// A request that was on so many ranks when they were lost may be what kills them.
constexpr int kMostPlacements = 4;

double cost(const RankLoad& r) {
  const double work = kPromptWeight * static_cast<double>(r.queued_tokens) + static_cast<double>(r.running_tokens);
  return work * (1 + 6 * std::max(0.0, r.cache_use - 0.5));
}

class Balanced final : public BalancedEngine {
 public:
  void add(int rank, std::shared_ptr<Engine> engine) override {
    std::scoped_lock lock(mutex_, loads_mutex_);
    const auto r = static_cast<std::size_t>(rank);
    if (engines_.size() <= r) {
      engines_.resize(r + 1);
      retired_.resize(r + 1);
      loads_.resize(r + 1);
    }
    retired_[r] = false;
    const std::int32_t length = engine->max_model_len();
    max_model_len_ = max_model_len_ == 0 ? length : std::min(max_model_len_.load(), length);
    engines_[r] = std::move(engine);
  }

  void lose(int rank, const std::string& reason) override {
    std::vector<std::shared_ptr<PlacedRequest>> orphans;
    {
      std::lock_guard lock(mutex_);
      if (static_cast<std::size_t>(rank) >= engines_.size()) return;
      engines_[static_cast<std::size_t>(rank)] = nullptr;
      for (const auto& [id, request] : requests_) {
        if (request->rank() == rank) orphans.push_back(request);
      }
      const bool planned = retired_[static_cast<std::size_t>(rank)];
      for (const auto& request : orphans) request->displace(planned);
      forget_retired();
    }
    for (const auto& request : orphans) resume(*request, reason);
  }

  void retire(int rank) override {
    std::lock_guard lock(mutex_);
    if (static_cast<std::size_t>(rank) < retired_.size()) retired_[static_cast<std::size_t>(rank)] = true;
  }

  int requests(int rank) const override {
    std::lock_guard lock(mutex_);
    return static_cast<int>(std::count_if(requests_.begin(), requests_.end(), [&](const auto& entry) { return entry.second->rank() == rank; }));
  }

  Result<std::unique_ptr<Admitted>> admit(SubmitMessage message) override {
    RETURN_IF_ERROR(check_rank(message, ranks()));
    auto ticket = std::make_unique<Ticket>();
    ticket->request = std::make_shared<PlacedRequest>(
        next_id_.fetch_add(1), std::move(message), [this](int rank, auto prompt, auto generation) { charge(rank, prompt, generation); },
        [this](RequestId id) { forget(id); });
    RETURN_IF_ERROR(choose(*ticket));
    return std::unique_ptr<Admitted>(std::move(ticket));
  }

  Result<RequestId> submit(std::unique_ptr<Admitted> admitted) override {
    auto& ticket = static_cast<Ticket&>(*admitted);
    const auto request = ticket.request;
    {
      std::lock_guard lock(mutex_);
      requests_[request->id()] = request;
    }
    const Status started = start(ticket);
    if (started.ok()) return request->id();
    request->settle();
    forget(request->id());
    return started.error();
  }

  void cancel(RequestId id, int index) override {
    const auto request = find(id);
    if (!request) return;
    const auto [rank, theirs] = request->cancel(index);
    if (const auto engine = rank < 0 ? nullptr : engine_of(rank)) engine->cancel(theirs, index);
  }

  Stats stats() const override {
    Stats sum;
    sum.healthy = false;
    for (const auto& rank : all()) {
      const Stats s = rank->stats();
      sum.running += s.running;
      sum.waiting += s.waiting;
      sum.blocks_total += s.blocks_total;
      sum.blocks_used += s.blocks_used;
      sum.blocks_cached += s.blocks_cached;
      sum.steps += s.steps;
      sum.healthy |= s.healthy;
      if (!s.healthy) sum.failure += (sum.failure.empty() ? "" : "; ") + s.failure;
    }
    if (!sum.healthy && sum.failure.empty()) sum.failure = "no rank is left";
    return sum;
  }

  std::int32_t max_model_len() const override { return max_model_len_; }
  void reset_prefix_cache() override {
    for (const auto& rank : all()) rank->reset_prefix_cache();
  }
  void drain(Duration timeout) override {
    const TimePoint deadline = std::chrono::steady_clock::now() + timeout;
    for (const auto& rank : all()) rank->drain(std::max(Duration::zero(), Duration(deadline - std::chrono::steady_clock::now())));
  }

 private:
  // Off the books again unless it is submitted.
  struct Ticket final : Admitted {
    ~Ticket() override {
      if (!submitted) request->settle();
    }
    std::shared_ptr<PlacedRequest> request;
    std::shared_ptr<Engine> engine;  // that admitted it
    int rank = -1;
    std::unique_ptr<Admitted> inner;
    bool submitted = false;
  };

  // A rank for the request, which admits it.
  Status choose(Ticket& ticket) {
    ticket.rank = pick(ticket.request->pinned());
    ticket.engine = ticket.rank < 0 ? nullptr : engine_of(ticket.rank);
    if (!ticket.engine) return Error{ErrorCode::kUnavailable, "no rank is healthy: " + stats().failure, {}};
    ASSIGN_OR_RETURN(ticket.inner, ticket.engine->admit(ticket.request->place(ticket.rank)));
    return Status::success();
  }

  // Submits a request with its rank chosen; on another one when that is lost meanwhile.
  Status start(Ticket& ticket) {
    ticket.submitted = true;
    for (;;) {
      const auto theirs = ticket.engine->submit(std::move(ticket.inner));
      if (!theirs.ok() && (theirs.error().code != ErrorCode::kUnavailable || ticket.engine->stats().healthy)) return theirs.error();
      {
        std::lock_guard lock(mutex_);
        const bool there = theirs.ok() && engines_[static_cast<std::size_t>(ticket.rank)] == ticket.engine;
        if (there && ticket.request->placed(*theirs)) return Status::success();
        if (!there) ticket.request->displace(false);
        if (there) break;
      }
      if (ticket.request->placements() >= kMostPlacements) return theirs.ok() ? internal_error("its ranks were lost again and again") : theirs.error();
      RETURN_IF_ERROR(choose(ticket));
    }
    if (const auto [rank, theirs] = ticket.request->cancel(-1); rank >= 0) ticket.engine->cancel(theirs, -1);
    return Status::success();
  }

  void resume(PlacedRequest& request, const std::string& reason) {
    Ticket ticket;
    ticket.request = request.shared_from_this();
    ticket.submitted = true;
    if (request.placements() >= kMostPlacements) {
      return request.fail(internal_error(reason + "; the request was on " + std::to_string(kMostPlacements) + " ranks that were lost"));
    }
    Status status = choose(ticket);
    if (status.ok()) status = start(ticket);
    if (!status.ok()) request.fail({ErrorCode::kUnavailable, reason + ", and no other rank could go on: " + status.error().message, {}});
  }

  void charge(int rank, std::int64_t prompt, std::int64_t generation) {
    std::lock_guard lock(loads_mutex_);
    if (loads_.size() <= static_cast<std::size_t>(rank)) return;
    loads_[static_cast<std::size_t>(rank)].queued_tokens += prompt;
    loads_[static_cast<std::size_t>(rank)].running_tokens += generation;
  }

  void forget(RequestId id) {
    std::lock_guard lock(mutex_);
    requests_.erase(id);
  }

  std::shared_ptr<PlacedRequest> find(RequestId id) const {
    std::lock_guard lock(mutex_);
    const auto found = requests_.find(id);
    return found == requests_.end() ? nullptr : found->second;
  }

  std::vector<std::shared_ptr<Engine>> all() const {
    std::lock_guard lock(mutex_);
    auto engines = engines_;
    std::erase(engines, nullptr);
    return engines;
  }

  std::shared_ptr<Engine> engine_of(int rank) const {
    std::lock_guard lock(mutex_);
    return static_cast<std::size_t>(rank) < engines_.size() ? engines_[static_cast<std::size_t>(rank)] : nullptr;
  }

  std::size_t ranks() const {
    std::lock_guard lock(mutex_);
    return engines_.size();
  }

  // Ranks at the end that were retired and are gone do not exist any more.
  void forget_retired() {
    std::lock_guard lock(loads_mutex_);
    while (!engines_.empty() && !engines_.back() && retired_.back()) {
      engines_.pop_back();
      retired_.pop_back();
    }
    loads_.resize(engines_.size());
  }

  // The ranks that take new requests, by their numbers; null: it does not.
  std::vector<std::shared_ptr<Engine>> takers() const {
    std::lock_guard lock(mutex_);
    auto engines = engines_;
    for (std::size_t r = 0; r < engines.size(); ++r) {
      if (retired_[r]) engines[r] = nullptr;
    }
    return engines;
  }

  // -1: none can take it. The pinned one, if it is there.
  int pick(std::optional<int> pinned) {
    const auto engines = takers();
    if (pinned && static_cast<std::size_t>(*pinned) < engines.size()) {
      const auto& engine = engines[static_cast<std::size_t>(*pinned)];
      if (engine && engine->stats().healthy) return *pinned;
    }
    std::lock_guard lock(loads_mutex_);
    std::vector<RankLoad> loads = loads_;
    loads.resize(engines.size());
    for (std::size_t r = 0; r < engines.size(); ++r) {
      const Stats s = engines[r] ? engines[r]->stats() : Stats{.healthy = false};
      loads[r].healthy = s.healthy;
      loads[r].cache_use = s.blocks_total > 0 ? static_cast<double>(s.blocks_used) / s.blocks_total : 0;
    }
    return choose_rank(loads, next_++);
  }

  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Engine>> engines_;  // by rank; null: lost
  std::vector<bool> retired_;                     // by rank
  std::unordered_map<RequestId, std::shared_ptr<PlacedRequest>> requests_;  // unfinished
  std::mutex loads_mutex_;  // innermost
  std::vector<RankLoad> loads_;
  std::size_t next_ = 0;
  std::atomic<RequestId> next_id_{1};
  std::atomic<std::int32_t> max_model_len_{0};
};

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

std::unique_ptr<BalancedEngine> balanced_engine() { return std::make_unique<Balanced>(); }

}  // namespace braid::engine
