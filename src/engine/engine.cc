// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <thread>
#include <variant>

#include "base/bounded_queue.h"
#include "base/log.h"
#include "base/thread_name.h"
#include "engine/admission.h"
#include "engine/cache_size.h"
#include "engine/loop.h"
#include "engine/speculation/make.h"
#include "moe/placement/rebalance.h"

namespace braid::engine {
namespace {

constexpr Duration kIdleWait = std::chrono::seconds(1);
constexpr Duration kBlockedWait = std::chrono::milliseconds(1);

struct Cancel {
  RequestId request;
  int index;
};
struct ResetPrefixCache {};
struct AbortAll {};
struct Exchange {};  // other engines have done something
using Command = std::variant<std::unique_ptr<Request>, Cancel, ResetPrefixCache, AbortAll, Exchange>;

struct Plan {
  AdmissionLimits admission;
  SchedulerLimits scheduler;
  std::int32_t blocks = 0;
};

Plan plan_for(const Settings& settings, const kv::Layout& layout, std::int64_t available) {
  const SchedulerSettings& s = settings.scheduler;
  const std::int64_t wanted =
      s.max_model_len > 0 ? s.max_model_len : std::numeric_limits<std::int32_t>::max() / 2;
  Plan plan;
  plan.blocks = cache_blocks(settings, layout, wanted, available);
  plan.admission.paging = paging_of(settings, layout);
  const std::int64_t held = plan.admission.paging.longest(plan.blocks);
  plan.admission.max_model_len = static_cast<std::int32_t>(std::min(wanted, held));
  plan.admission.max_batched_tokens = s.max_num_batched_tokens;
  plan.admission.chunked_prefill = s.enable_chunked_prefill;
  plan.admission.priority = s.scheduling_policy == "priority";
  plan.admission.max_waiting = s.max_waiting_requests;
  plan.admission.max_logprobs = settings.max_logprobs;
  plan.admission.seed = static_cast<std::uint64_t>(settings.seed);
  plan.admission.lends = !settings.transfer.enabled() || settings.transfer.produces();
  plan.admission.borrows = !settings.transfer.enabled() || settings.transfer.consumes();
  plan.scheduler.max_batched_tokens = s.max_num_batched_tokens;
  plan.scheduler.max_sequences = s.max_num_seqs;
  plan.scheduler.max_drafts = settings.speculation.tokens();
  plan.scheduler.long_prefill_threshold = s.long_prefill_token_threshold;
  plan.scheduler.chunked_prefill = s.enable_chunked_prefill;
  plan.scheduler.prefix_caching = settings.cache.enable_prefix_caching;
  return plan;
}

prefix::Algorithm algorithm_of(const Settings& settings) {
  const auto algorithm = prefix::parse_algorithm(settings.cache.prefix_caching_hash_algo);
  return algorithm.ok() ? algorithm.value() : prefix::Algorithm::kSha256Cbor;
}

void announce_cache(const Settings& settings,
                    const Plan& plan,
                    const kv::Layout& layout,
                    Metrics& metrics) {
  const std::int64_t slots = std::int64_t{plan.blocks} * settings.cache.block_size;
  const std::int64_t tokens = slots / layout.groups.size();  // and more of sequences longer than windows
  const std::int64_t bytes = static_cast<std::int64_t>(layout.bytes_per_slot()) * slots;
  const char* algorithm = prefix::name_of(algorithm_of(settings));
  log_info("key/value cache",
           {{"tokens", tokens},
            {"bytes", bytes},
            {"dtype", name_of(layout.dtype)},
            {"bytes_per_token", layout.bytes_per_token()},
            {"blocks", plan.blocks},
            {"groups_of_layers", layout.groups.size()},
            {"max_model_len", plan.admission.max_model_len},
            {"offloading_gib", settings.cache.kv_offloading_size.value_or(0)},
            {"prefix_caching", settings.cache.enable_prefix_caching ? algorithm : "off"}});
  metrics.cache_config_info
      .with({std::to_string(settings.cache.block_size),
             std::string(name_of(layout.dtype)),
             settings.cache.enable_prefix_caching ? "True" : "False",
             algorithm,
             std::to_string(plan.blocks),
             std::to_string(tokens),
             std::to_string(bytes)})
      .set(1);
}

// Without it when the model cannot even be timed: its first step will say why.
std::unique_ptr<Speculation> speculation_for(const Settings& settings, const SpeculationParts& parts) {
  auto speculation = make_speculation(settings, parts);
  if (speculation.ok()) return std::move(speculation).value();
  log_warning("speculative decoding is off", {{"reason", speculation.error().message}});
  return nullptr;
}

class ThreadedEngine final : public Engine {
 public:
  ThreadedEngine(std::unique_ptr<model::Model> model,
                 Vocabulary vocabulary,
                 const Settings& settings,
                 const Plan& plan,
                 const kv::Layout& layout,
                 Buffer tier,
                 Metrics& metrics,
                 const Clock& clock,
                 const Company& company)
      : lockstep_(company.lockstep),
        rebalancer_(company.rebalancer),
        node_(company.node),
        model_(std::move(model)),
        hasher_(algorithm_of(settings), settings.cache.prefix_caching_hash_seed),
        cache_(layout, plan.blocks, settings.cache.block_size, place()),
        tier_(&cache_, std::move(tier)),
        admission_(plan.admission, std::move(vocabulary), &hasher_, &metrics, &clock),
        speculation_(speculation_for(settings, {model_.get(), &cache_, plan.admission.max_model_len, &metrics, &clock, lockstep_ != nullptr})),
        loop_({model_.get(), &cache_, &admission_, &metrics, &clock, plan.scheduler, speculation_.get(), {}, lockstep_, rebalancer_, settings.overlap, company.events, node_, company.timeline, tier_.total() > 0 ? &tier_ : nullptr}),
        stats_(loop_.stats()) {
    if (node_) node_->start([this] { send(Exchange{}); });
    thread_ = std::thread([this] { run(); });
  }

  ~ThreadedEngine() override {
    draining_ = true;
    stopping_ = true;
    inbox_.close();
    if (lockstep_) {
      lockstep_->close();
      lockstep_->wake();
    }
    thread_.join();
    if (node_) node_->stop();
    if (rebalancer_) rebalancer_->leave();  // its thread looks at the model's layers
  }

  Result<std::unique_ptr<Admitted>> admit(SubmitMessage message) override {
    const std::string transfer = message.kv_transfer_params;
    auto request = admission_.admit(std::move(message));
    if (request.ok()) return std::unique_ptr<Admitted>(std::move(*request));
    if (const auto params = transfer::read_params(transfer); params.ok()) decline(*params);
    return request.error();
  }

  Result<RequestId> submit(std::unique_ptr<Admitted> admitted) override {
    std::unique_ptr<Request> request(static_cast<Request*>(admitted.release()));
    const transfer::Params transfer = request->transfer;
    const auto id = take(std::move(request));
    if (!id.ok()) decline(transfer);
    return id;
  }

  void cancel(RequestId request, int index) override { send(Cancel{request, index}); }
  void reset_prefix_cache() override { send(ResetPrefixCache{}); }
  std::int32_t max_model_len() const override { return admission_.limits().max_model_len; }

  Stats stats() const override {
    std::lock_guard lock(mutex_);
    return stats_;
  }

  void drain(Duration timeout) override {
    draining_ = true;
    if (wait_until_idle(timeout)) return;
    send(AbortAll{});
    wait_until_idle(timeout + std::chrono::seconds(1));
  }

 private:
  // Of cache memory that other engines can read.
  std::function<std::byte*(int)> place() const {
    if (!node_) return {};
    return [this](int index) { return node_->layer(index); };
  }

  Result<RequestId> take(std::unique_ptr<Request> request) {
    if (draining_) return Error{ErrorCode::kUnavailable, "the engine is shutting down", {}};
    if (dead_) return Error{ErrorCode::kUnavailable, "the engine is dead: " + stats().failure, {}};
    RETURN_IF_ERROR(admission_.start_waiting());
    const RequestId id = request->id;
    submitted_.fetch_add(1);
    if (!send(std::move(request))) {
      submitted_.fetch_sub(1);
      admission_.stopped_waiting();
      return Error{ErrorCode::kUnavailable, "the engine is shutting down", {}};
    }
    return id;
  }

  // A request that will not run: what another engine holds for it is let go.
  void decline(const transfer::Params& params) {
    if (params.source && node_ && node_->borrower()) node_->borrower()->decline(*params.source);
  }

  bool send(Command command) {
    const bool sent = inbox_.try_push(std::move(command));
    pending_.store(true, std::memory_order_release);
    if (lockstep_) lockstep_->wake();
    return sent;
  }

  bool wait_until_idle(Duration timeout) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, [&] { return ended_ >= submitted_.load() && exchanging_ == 0; });
  }

  void run() {
    name_this_thread("braid-engine");
    bool blocked = false;
    while (!stopping_) {
      if (lockstep_ && loop_.healthy() && lockstep_->changed()) loop_.regroup();
      for (Command& command : next_commands(blocked)) handle(command);
      if (loop_.idle()) loop_.exchange();  // a step does it too
      const bool called = lockstep_ && loop_.healthy() && lockstep_->called();
      blocked = (called || !loop_.idle()) && !loop_.step() && !loop_.idle();
      publish();
    }
    for (Command& command : inbox_.take_all()) handle(command);
    loop_.end_all(protocol::FinishReason::kAbort, "the engine is shutting down");
    publish();
  }

  std::vector<Command> next_commands(bool blocked) {
    if (loop_.idle() || blocked) return wait_for_commands(loop_.idle() ? kIdleWait : kBlockedWait);
    if (!pending_.exchange(false, std::memory_order_acquire)) return {};
    return inbox_.take_all();
  }

  std::vector<Command> wait_for_commands(Duration timeout) {
    pending_.store(false, std::memory_order_relaxed);
    if (!lockstep_ || !loop_.healthy()) return inbox_.wait_all(timeout);
    lockstep_->sleep([this] { return stopping_ || inbox_.size() > 0; }, std::chrono::steady_clock::now() + timeout);
    return inbox_.take_all();
  }

  void handle(Command& command) {
    if (auto* request = std::get_if<std::unique_ptr<Request>>(&command)) {
      loop_.receive(std::move(*request));
    } else if (const auto* cancel = std::get_if<Cancel>(&command)) {
      loop_.cancel(cancel->request, cancel->index);
    } else if (std::holds_alternative<AbortAll>(command)) {
      loop_.end_all(protocol::FinishReason::kAbort, "the engine is shutting down");
    } else if (std::holds_alternative<ResetPrefixCache>(command)) {
      loop_.reset_prefix_cache();
    }
  }

  void publish() {
    if (!loop_.healthy()) dead_ = true;
    bool idle = false;
    {
      std::lock_guard lock(mutex_);
      stats_ = loop_.stats();
      stats_.waiting = std::max(stats_.waiting, admission_.waiting());
      ended_ = loop_.ended();
      exchanging_ = loop_.exchanging();
      idle = ended_ >= submitted_.load(std::memory_order_relaxed) && exchanging_ == 0;
    }
    if (idle) changed_.notify_all();
  }

  Lockstep* const lockstep_;
  moe::Rebalancer* const rebalancer_;
  transfer::Node* const node_;
  std::unique_ptr<model::Model> model_;
  prefix::BlockHasher hasher_;
  kv::Cache cache_;
  kv::HostTier tier_;
  Admission admission_;
  std::unique_ptr<Speculation> speculation_;
  Loop loop_;

  BoundedQueue<Command> inbox_{std::numeric_limits<std::size_t>::max()};
  std::atomic<bool> pending_{false};
  std::atomic<bool> draining_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> dead_{false};
  std::atomic<std::uint64_t> submitted_{0};

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Stats stats_;
  std::uint64_t ended_ = 0;
  std::size_t exchanging_ = 0;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace

Result<std::unique_ptr<Engine>> start(std::unique_ptr<model::Model> model,
                                      Vocabulary vocabulary,
                                      const Settings& settings,
                                      Metrics& metrics,
                                      const Clock& clock,
                                      const Company& company) {
  const kv::Layout layout = cache_layout(settings, model->cache_layout());
  const Plan plan = plan_for(settings, layout, available_memory(layout.stream));
  if (plan.admission.max_model_len < settings.scheduler.max_model_len) {
    log_warning("the cache is smaller than max-model-len",
                {{"max_model_len", settings.scheduler.max_model_len},
                 {"cache_tokens", plan.admission.max_model_len}});
  }
  if (company.node) RETURN_IF_ERROR(company.node->share(layout, plan.blocks, settings.cache.block_size));
  ASSIGN_OR_RETURN(Buffer tier, host_tier_memory(settings, layout, plan.blocks, available_memory()));
  announce_cache(settings, plan, layout, metrics);
  return std::unique_ptr<Engine>(
      new ThreadedEngine(std::move(model), std::move(vocabulary), settings, plan, layout, std::move(tier), metrics, clock, company));
}

}  // namespace braid::engine
