// SPDX-License-Identifier: Apache-2.0
// The engine's loop without its thread: receive -> schedule -> run -> commit -> emit.
// Thread rules: one thread at a time.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/timeline.h"
#include "engine/admission.h"
#include "engine/handover.h"
#include "engine/lockstep.h"
#include "engine/metrics.h"
#include "engine/request.h"
#include "engine/overlap.h"
#include "engine/runner.h"
#include "engine/scheduler.h"
#include "engine/speculation/speculation.h"
#include "events/publisher.h"
#include "kv/block_pool.h"
#include "kv/cache.h"
#include "sample/mask_ahead.h"

namespace braid::moe {
class Rebalancer;
}

namespace braid::engine {

class Loop {
 public:
  // All pointers outlive the loop.
  struct Parts {
    model::Model* model = nullptr;
    kv::Cache* cache = nullptr;
    Admission* admission = nullptr;
    Metrics* metrics = nullptr;
    const Clock* clock = nullptr;
    SchedulerLimits limits;
    Speculation* speculation = nullptr;  // null: off
    // Sees every plan before it runs; may be empty.
    std::function<void(const StepPlan&)> trace = {};
    // The ranks to step with; null: this one is alone.
    Lockstep* lockstep = nullptr;
    // Keeps the model's experts balanced over these ranks; null: they stay where they are.
    moe::Rebalancer* rebalancer = nullptr;
    OverlapSettings overlap = {};
    events::Publisher* events = nullptr;  // of what the cache holds; null: nobody listens
    transfer::Node* node = nullptr;       // what exchanges blocks with other engines; started; null: nobody does
    Timeline* timeline = nullptr;         // learns what each step does when; null: nobody asks
    kv::HostTier* tier = nullptr;         // for blocks that the cache has no room for; null: they are lost
  };
  explicit Loop(const Parts& parts);

  // Between steps:
  void receive(std::unique_ptr<Request> request);
  void cancel(RequestId request, int index);
  // Ends everything with a message to each subscriber.
  void end_all(protocol::FinishReason reason, const std::string& error);
  void reset_prefix_cache();

  // Takes up what other engines have done: between steps, and while idle.
  void exchange();
  // Holds of other engines and reads from them that have not ended.
  std::size_t exchanging() const { return handover_ ? handover_->pending() : 0; }

  // Forms the group of ranks that was announced.
  void regroup();

  // One step; false when there was nothing to compute, on no rank. Subscribers are called before it
  // returns. With a lockstep it is collective, so a rank steps when it has work or is called.
  bool step();

  bool idle() const { return requests_.empty(); }
  std::uint64_t ended() const { return ended_; }  // requests, since the start
  bool healthy() const { return failure_.empty(); }
  Stats stats() const;
  const kv::BlockPool& pool() const { return pool_; }

 private:
  void expire(TimePoint now);
  // The plan's logits; nothing when no rank has anything to compute. A step that fails because a rank
  // is lost is done again with those that are left.
  Result<std::optional<Matrix<const float>>> compute(DraftPlan& drafts);
  Result<std::optional<Matrix<const float>>> compute_once(DraftPlan& drafts);
  Result<Agreement> agree();
  Result<Matrix<const float>> forward(const Agreement& agreed);
  void sample(Matrix<const float> logits);
  std::int32_t wanted_drafts();
  Status draft(const DraftPlan& drafts);
  // The grammar masks of this step's sequences are computed beside its forward pass.
  void start_masks();
  // Tokens about which a grammar leaves no choice are given to the next step at once, as drafts.
  void jump_ahead();
  void note_plan(TimePoint now);
  void note_admitted(Choice& choice, TimePoint now);
  void commit(const PlannedWork& work, const ItemRows& rows, Matrix<const float> logits, TimePoint now);
  int verify(Choice& choice, int drafts, std::int32_t row, Matrix<const float> logits, TimePoint now);
  void collect_prompt_logprobs(Choice& choice, const ItemRows& rows, Matrix<const float> logits);
  void arrive(Choice& choice, const transfer::News& news);
  void start_from_remote(Choice& choice, const transfer::News& news);
  void promise();
  void hand_over();
  ops::ChooseTokens::Draw draw_of(const Choice& choice, int ahead) const;
  // `chosen`: by the model; nothing: the sampler chooses.
  bool take_token(Choice& choice, std::span<const float> logits, std::optional<std::int32_t> chosen, TimePoint now);
  void append_token(Choice& choice,
                    std::int32_t token,
                    std::span<const float> logits,
                    TokenMessage& message);
  void observe_token(Choice& choice, TimePoint now);
  void end_choice(Choice& choice, protocol::FinishReason reason);
  void end_with_message(Choice& choice, protocol::FinishReason reason, std::string error);
  void release_siblings(Request& request);
  void retire(Request& request);
  void die(const std::string& reason);
  void emit();
  void publish();
  void publish_events();
  void publish_tier();
  Timing timing_of(const Choice& choice) const;
  TokenMessage message_for(Choice& choice) const;
  void post(const Choice& choice, TokenMessage message);

  Admission* const admission_;
  Metrics* const metrics_;
  const Clock* const clock_;
  const model::Model* const model_;
  metrics::Counter* computed_prompt_tokens_;
  metrics::Counter* cached_prompt_tokens_;
  metrics::Counter* fetched_prompt_tokens_;
  metrics::Counter* offloaded_bytes_;
  metrics::Counter* restored_bytes_;
  metrics::Gauge* waiting_for_capacity_;
  metrics::Gauge* waiting_for_blocks_;
  events::Publisher* const events_;
  kv::EventLog event_log_;
  kv::BlockPool pool_;
  Scheduler scheduler_;
  Runner runner_;
  std::optional<Handover> handover_;
  Speculation* const speculation_;
  const bool drafts_by_module_;
  const std::function<void(const StepPlan&)> trace_;
  Timeline* const timeline_;
  Lockstep* const lockstep_;
  moe::Rebalancer* const rebalancer_;
  const OverlapSettings overlap_;
  std::int32_t most_sequences_ = 0;  // of any rank in the last step
  sample::Scratch scratch_;
  std::optional<sample::MaskAhead> masks_;  // from the first grammar on
  StepPlan plan_;
  std::vector<std::pair<Choice*, TokenMessage>> handed_over_;  // in this step, to be told when the drafter is done
  std::unordered_map<RequestId, std::unique_ptr<Request>> requests_;
  std::vector<std::unique_ptr<Request>> retired_;  // ended in this step
  std::unordered_map<Subscriber*, Outbox> outboxes_;
  std::vector<Outbox*> filled_;
  TimePoint next_deadline_ = TimePoint::max();
  std::uint64_t steps_ = 0;
  std::uint64_t ended_ = 0;
  std::string failure_;
};

}  // namespace braid::engine
