// SPDX-License-Identifier: Apache-2.0
#include "engine/loop.h"

#include <algorithm>

#include "base/log.h"
#include "engine/stop.h"
#include "moe/placement/rebalance.h"

namespace braid::engine {

using protocol::FinishReason;

Loop::Loop(const Parts& parts)
    : admission_(parts.admission),
      metrics_(parts.metrics),
      clock_(parts.clock),
      model_(parts.model),
      computed_prompt_tokens_(&parts.metrics->prompt_tokens_by_source.with({"local_compute"})),
      cached_prompt_tokens_(&parts.metrics->prompt_tokens_by_source.with({"local_cache_hit"})),
      fetched_prompt_tokens_(&parts.metrics->prompt_tokens_by_source.with({"external_kv_transfer"})),
      offloaded_bytes_(&parts.metrics->kv_offload_bytes.with({"GPU_to_CPU"})),
      restored_bytes_(&parts.metrics->kv_offload_bytes.with({"CPU_to_GPU"})),
      waiting_for_capacity_(&parts.metrics->requests_waiting_by_reason.with({"capacity"})),
      waiting_for_blocks_(&parts.metrics->requests_waiting_by_reason.with({"deferred"})),
      events_(parts.events),
      pool_(parts.cache->num_blocks(), events_ ? &event_log_ : nullptr, parts.tier),
      scheduler_(parts.limits, &pool_, events_ ? &event_log_ : nullptr),
      runner_(parts.model, parts.cache, [this](const Sequence& s, int ahead) { return draw_of(static_cast<const Choice&>(s), ahead); }),
      speculation_(parts.speculation),
      drafts_by_module_(parts.speculation && parts.model->draft_module()),
      trace_(parts.trace),
      timeline_(parts.timeline),
      lockstep_(parts.lockstep),
      rebalancer_(parts.rebalancer),
      overlap_(parts.overlap) {
  metrics_->healthy.set(1);
  if (parts.node) handover_.emplace(parts.node, &pool_, metrics_, drafts_by_module_);
}

void Loop::receive(std::unique_ptr<Request> owned) {
  Request& request = *owned;
  requests_.emplace(request.id, std::move(owned));
  Outbox& outbox = outboxes_[request.subscriber.get()];
  outbox.subscriber = request.subscriber;
  ++outbox.requests;
  request.outbox = &outbox;
  if (request.deadline.has_value()) next_deadline_ = std::min(next_deadline_, *request.deadline);
  metrics_->request_params_n.observe(request.params.n);
  metrics_->request_params_max_tokens.observe(request.params.max_tokens);
  if (!healthy()) {
    for (auto& choice : request.choices) end_with_message(*choice, FinishReason::kError, failure_);
    emit();
    retired_.clear();
    return;
  }
  Choice& first = *request.choices.front();
  if (first.state != Sequence::State::kNew) return release_siblings(request);
  if (!handover_ || !handover_->ask(first)) scheduler_.add(first);
}

void Loop::cancel(RequestId id, int index) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;
  Request& request = *found->second;
  for (auto& choice : request.choices) {
    if (index >= 0 && choice->index != index) continue;
    if (choice->state != Sequence::State::kFinished) end_choice(*choice, FinishReason::kAbort);
  }
  retired_.clear();
  publish();
}

void Loop::end_all(FinishReason reason, const std::string& error) {
  std::vector<Request*> all;
  for (auto& [id, request] : requests_) all.push_back(request.get());
  std::sort(all.begin(), all.end(), [](auto* a, auto* b) { return a->id < b->id; });
  for (Request* request : all) {
    for (auto& choice : request->choices) end_with_message(*choice, reason, error);
  }
  emit();
  retired_.clear();
  publish();
}

void Loop::reset_prefix_cache() {
  pool_.forget_hashes();
  publish_events();
}

void Loop::exchange() {
  if (!handover_) return;
  const std::size_t before = handover_->pending();
  for (auto& [choice, news] : handover_->turn(clock_->now())) arrive(*choice, news);
  emit();
  retired_.clear();
  if (handover_->pending() != before) publish();
}

void Loop::arrive(Choice& choice, const transfer::News& news) {
  switch (news.kind) {
    case transfer::News::Kind::kGranted:
      choice.remote_tokens = std::min(news.tokens, handover_->brings_first(choice, news, admission_->vocabulary()) ? choice.prompt_length : choice.prompt_length - 1);
      choice.remote_followed = news.followed;
      return scheduler_.add(choice);
    case transfer::News::Kind::kRead:
      return start_from_remote(choice, news);
    case transfer::News::Kind::kRewound:
      return scheduler_.withdraw(choice);
    case transfer::News::Kind::kFailed:
      if (handover_->recomputes()) return scheduler_.not_fetched(choice);
      return end_with_message(choice, FinishReason::kError,
                              "the prompt's keys and values cannot be read: " + news.error +
                                  "; with kv_load_failure_policy recompute the prompt would be computed here");
  }
}

void Loop::start_from_remote(Choice& choice, const transfer::News& news) {
  const TimePoint now = clock_->now();
  choice.transfer_seconds = news.seconds;
  choice.transfer_bytes = news.bytes;
  scheduler_.fetched(choice);
  note_admitted(choice, now);
  if (choice.computed < choice.prompt_length) return;
  if (handover_->brings_first(choice, news, admission_->vocabulary())) take_token(choice, {}, news.next, now);
  else scheduler_.requeue(choice);  // to compute the last token
}

// Those who asked for it learn where the prompt's blocks are, or what of them there is.
void Loop::hand_over() {
  for (auto& [choice, message] : handed_over_) {
    message.kv_transfer_params = handover_->hold(*choice, clock_->now());
    const FinishReason finish = message.finish;
    post(*choice, std::move(message));
    end_choice(*choice, finish);
  }
  handed_over_.clear();
  if (handover_) handover_->publish();
  emit();
  retired_.clear();
}

bool Loop::step() {
  exchange();
  const TimePoint start = clock_->now();
  if (start >= next_deadline_) expire(start);
  scheduler_.plan(plan_);
  if (trace_) trace_(plan_);
  note_plan(start);
  start_masks();
  DraftPlan drafts;
  const auto computed = compute(drafts);
  if (masks_) masks_->finish();
  if (!computed.ok()) {
    die(computed.error().message);
    return true;
  }
  const std::optional<Matrix<const float>>& logits = *computed;
  if (!logits) {
    if (timeline_) timeline_->drop();
    emit();
    retired_.clear();
    publish();
    return false;
  }
  ++steps_;
  sample(*logits);
  emit();
  jump_ahead();
  const Status drafted = draft(drafts);
  retired_.clear();
  if (drafted.ok()) hand_over();
  else die(drafted.error().message);
  publish();
  if (timeline_) {
    timeline_->add({"step", "tokens", plan_.tokens, start, clock_->now()});
    timeline_->commit();
  }
  return true;
}

void Loop::sample(Matrix<const float> logits) {
  const Timeline::Scope scope(timeline_, "sample", "sequences", static_cast<std::int64_t>(plan_.work.size()));
  const TimePoint now = clock_->now();
  for (std::size_t i = 0; i < plan_.work.size(); ++i) commit(plan_.work[i], runner_.rows()[i], logits, now);
}

Result<std::optional<Matrix<const float>>> Loop::compute(DraftPlan& drafts) {
  for (;;) {
    auto logits = compute_once(drafts);
    if (logits.ok() || !lockstep_) return logits;
    RETURN_IF_ERROR(lockstep_->recover(logits.error()));
  }
}

Result<std::optional<Matrix<const float>>> Loop::compute_once(DraftPlan& drafts) {
  ASSIGN_OR_RETURN(const Agreement agreed, agree());
  if (!agreed.anything()) return std::optional<Matrix<const float>>();
  if (agreed.costs) RETURN_IF_ERROR(speculation_->measure(*lockstep_));
  drafts = {agreed.drafts, lockstep_ ? agreed.most_tokens : 0, lockstep_ ? agreed.most_sequences : 0};
  most_sequences_ = agreed.most_sequences;
  ASSIGN_OR_RETURN(const Matrix<const float> logits, forward(agreed));
  if (agreed.overlap) metrics_->dbo_steps.add();
  metrics_->moe.observe(model_->traffic());
  return std::optional(logits);
}

Result<Matrix<const float>> Loop::forward(const Agreement& agreed) {
  const Timeline::Scope scope(timeline_, "forward", "tokens", plan_.tokens);
  return runner_.run(plan_, agreed.most_tokens, agreed.overlap);
}

void Loop::start_masks() {
  std::vector<sample::MaskAhead::Job> jobs;
  for (const PlannedWork& work : plan_.work) {
    auto& choice = *static_cast<Choice*>(work.sequence);
    const bool samples = choice.computed + work.count == choice.length();
    if (samples && choice.sampler.masked()) {
      jobs.push_back({&choice.sampler, std::span(choice.drafts).first(static_cast<std::size_t>(work.drafts))});
    }
  }
  if (jobs.empty()) return;
  if (!masks_) masks_.emplace(admission_->vocabulary().size);
  masks_->start(std::move(jobs));
}

void Loop::jump_ahead() {
  for (const PlannedWork& work : plan_.work) {
    auto& choice = *static_cast<Choice*>(work.sequence);
    if (choice.state != Sequence::State::kRunning || !choice.decoding() || !choice.sampler.masked()) continue;
    const std::int32_t output = choice.request->params.max_tokens - choice.generated();
    const std::int32_t room = std::min(output, admission_->limits().max_model_len - choice.length()) - 1;
    choice.drafts = choice.sampler.forced();
    if (choice.drafts.size() > static_cast<std::size_t>(std::max(room, 0))) choice.drafts.resize(static_cast<std::size_t>(std::max(room, 0)));
    choice.drafts_forced = !choice.drafts.empty();
  }
}

void Loop::regroup() {
  const Status formed = lockstep_->form();
  if (!formed.ok()) die(formed.error().message);
}

// Guesses at the tokens to come. They are lost with a rank that is lost meanwhile, and nothing else is.
Status Loop::draft(const DraftPlan& drafts) {
  if (drafts.tokens == 0) return Status::success();
  const Timeline::Scope scope(timeline_, "draft", "tokens", drafts.tokens);
  const Status drafted = speculation_->draft(plan_, runner_.rows(), drafts, scheduler_);
  return drafted.ok() || !lockstep_ ? drafted : lockstep_->recover(drafted.error());
}

// By the rank with the most sequences, as all wait for it.
std::int32_t Loop::wanted_drafts() {
  const auto sequences = static_cast<std::int32_t>(plan_.work.size());
  if (speculation_ == nullptr || sequences == 0) return 0;
  return speculation_->decide(static_cast<std::size_t>(std::max(sequences, most_sequences_)));
}

Result<Agreement> Loop::agree() {
  const Timeline::Scope scope(timeline_, "agree");
  const auto sequences = static_cast<std::int32_t>(plan_.work.size());
  if (!lockstep_) return Agreement{.most_tokens = plan_.tokens, .all_tokens = plan_.tokens, .drafts = wanted_drafts()};
  StepMessage mine{.tokens = plan_.tokens,
                   .wants_overlap = wants_overlap(overlap_, plan_),
                   .wants_costs = speculation_ != nullptr && speculation_->unmeasured(),
                   .sequences = sequences,
                   .drafts = wanted_drafts()};
  if (!rebalancer_) return lockstep_->agree(mine);
  mine.staged = rebalancer_->staged();
  mine.maps = rebalancer_->maps();
  ASSIGN_OR_RETURN(const Agreement agreed, lockstep_->agree(mine));
  if (agreed.anything()) rebalancer_->step(agreed.staged);
  return agreed;
}

void Loop::expire(TimePoint now) {
  next_deadline_ = TimePoint::max();
  std::vector<Request*> late;
  for (auto& [id, request] : requests_) {
    if (!request->deadline.has_value()) continue;
    if (*request->deadline <= now) {
      late.push_back(request.get());
    } else {
      next_deadline_ = std::min(next_deadline_, *request->deadline);
    }
  }
  for (Request* request : late) {
    for (auto& choice : request->choices) {
      end_with_message(*choice, FinishReason::kAbort, "the request's deadline passed");
    }
  }
}

void Loop::note_plan(TimePoint now) {
  for (Sequence* sequence : plan_.preempted) {
    metrics_->preemptions.add();
    auto& choice = *static_cast<Choice*>(sequence);
    choice.prompt_logprobs.clear();
    ++choice.preemptions;
    if (handover_) handover_->rewind(choice);
  }
  for (Sequence* sequence : plan_.admitted) {
    auto& choice = *static_cast<Choice*>(sequence);
    if (handover_) handover_->abandon(choice);  // this cache had all of it
    note_admitted(choice, now);
  }
  for (Sequence* sequence : plan_.fetching) handover_->read(*static_cast<Choice*>(sequence));
  if (handover_) promise();
  if (plan_.tokens > 0) metrics_->iteration_tokens.observe(plan_.tokens);
}

// Who asked for it early learns where the prompt's blocks will be.
void Loop::promise() {
  for (auto& [choice, params] : handover_->promise(plan_)) {
    TokenMessage message = message_for(*choice);
    message.kv_transfer_params = std::move(params);
    post(*choice, std::move(message));
  }
  handover_->publish();
  emit();
}

void Loop::note_admitted(Choice& choice, TimePoint now) {
  if (choice.first_scheduled.has_value()) return;
  choice.first_scheduled = now;
  Request& request = *choice.request;
  metrics_->prefix_cache_queries.add(choice.prompt_length);
  const std::int32_t found_here = choice.cached_tokens - choice.restored_tokens;
  metrics_->prefix_cache_hits.add(found_here);
  if (pool_.tier()) metrics_->external_prefix_cache_queries.add(choice.prompt_length - found_here);
  metrics_->external_prefix_cache_hits.add(choice.restored_tokens);
  metrics_->prompt_tokens_cached.add(choice.cached_tokens);
  cached_prompt_tokens_->add(found_here);
  fetched_prompt_tokens_->add(choice.fetched_tokens + choice.restored_tokens);
  computed_prompt_tokens_->add(choice.prompt_length - choice.cached_tokens - choice.fetched_tokens);
  if (request.started) return;
  request.started = true;
  admission_->stopped_waiting();
  metrics_->prompt_tokens.add(choice.prompt_length);
  metrics_->queue_time.observe(to_seconds(now - request.arrived));
  metrics_->request_prompt_tokens.observe(choice.prompt_length);
  metrics_->request_prefill_kv_computed_tokens.observe(choice.prompt_length - choice.cached_tokens - choice.fetched_tokens);
}

void Loop::commit(const PlannedWork& work,
                  const ItemRows& rows,
                  Matrix<const float> logits,
                  TimePoint now) {
  auto& choice = *static_cast<Choice*>(work.sequence);
  if (choice.wants_prompt_rows) collect_prompt_logprobs(choice, rows, logits);
  scheduler_.commit(choice, work.count);
  if (rows.next < 0) return;
  const int accepted = verify(choice, work.drafts, rows.next, logits, now);
  if (work.drafts > 0 && !choice.drafts_forced) speculation_->observe(work.drafts, accepted);
  choice.drafts.clear();
  choice.drafts_forced = false;
}

// Samples token after token, from logits that presume the drafts before them, while those come true.
int Loop::verify(Choice& choice, int drafts, std::int32_t row, Matrix<const float> logits, TimePoint now) {
  const auto columns = static_cast<std::size_t>(
      std::min<std::int64_t>(logits.cols, admission_->vocabulary().size));
  int accepted = 0;
  while (true) {
    const std::int32_t at = row + accepted;
    const auto chosen = runner_.chosen(at);
    const bool goes_on = take_token(choice, chosen ? std::span<const float>() : std::span(logits.row(at), columns), chosen, now);
    const auto next = static_cast<std::size_t>(accepted);
    if (accepted == drafts || choice.tokens.back() != choice.drafts[next]) return accepted;
    ++accepted;
    if (!goes_on) return accepted;
    scheduler_.commit(choice, 1);
  }
}

void Loop::collect_prompt_logprobs(Choice& choice, const ItemRows& rows, Matrix<const float> logits) {
  if (choice.prompt_logprobs.empty()) choice.prompt_logprobs.emplace_back(std::nullopt);
  const auto columns = static_cast<std::size_t>(
      std::min<std::int64_t>(logits.cols, admission_->vocabulary().size));
  for (std::int32_t i = 0; i < rows.prompt_count; ++i) {
    const std::int32_t token = choice.tokens[choice.prompt_logprobs.size()];
    choice.prompt_logprobs.emplace_back(
        sample::logprobs_of({logits.row(rows.prompt_first + i), columns},
                            token,
                            *choice.request->params.prompt_logprobs,
                            scratch_));
  }
}

// Log-probabilities are made of the logits.
ops::ChooseTokens::Draw Loop::draw_of(const Choice& choice, int ahead) const {
  if (choice.request->params.logprobs.has_value()) return {};
  return choice.sampler.draw(std::min(model_->config().vocab_size, admission_->vocabulary().size), ahead);
}

bool Loop::take_token(Choice& choice, std::span<const float> logits, std::optional<std::int32_t> chosen, TimePoint now) {
  TokenMessage message = message_for(choice);
  if (choice.request->params.max_tokens == 0) {
    message.finish = FinishReason::kLength;
  } else if (const std::int32_t token = chosen ? *chosen : choice.sampler.sample(logits, scratch_); token < 0) {
    message.finish = FinishReason::kError;
    message.error = internal_error("no token can follow: all are forbidden, or no logit is finite");
    metrics_->corrupted_requests.add();
  } else {
    append_token(choice, token, logits, message);
    observe_token(choice, now);
  }
  const FinishReason finish = message.finish;
  if (finish != FinishReason::kNone) message.timing = timing_of(choice);
  const bool ends_well = finish == FinishReason::kLength || finish == FinishReason::kStop;
  const bool hands_over = ends_well && handover_ && handover_->lends() && choice.request->transfer.hold && choice.index == 0;
  if (hands_over) handed_over_.emplace_back(&choice, std::move(message));
  else post(choice, std::move(message));
  if (choice.index == 0 && !choice.spoke) release_siblings(*choice.request);
  choice.spoke = true;
  choice.wants_prompt_rows = false;
  if (finish == FinishReason::kNone) return true;
  if (!hands_over) end_choice(choice, finish);
  return false;
}

void Loop::append_token(Choice& choice,
                        std::int32_t token,
                        std::span<const float> logits,
                        TokenMessage& message) {
  const auto& params = choice.request->params;
  choice.tokens.push_back(token);
  message.tokens.push_back(token);
  if (params.logprobs.has_value()) {
    message.logprobs.push_back(sample::logprobs_of(logits, token, *params.logprobs, scratch_));
  }
  const Stop stop = stop_after(
      choice, params, admission_->vocabulary().eos_ids, admission_->limits().max_model_len);
  message.finish = stop.reason;
  if (stop.by_stop_id) message.stop_token = token;
  if (stop.reason == FinishReason::kStop) return;
  if (!choice.sampler.accept(token)) {
    message.finish = FinishReason::kError;
    message.error = internal_error("the grammar refused a token that it had allowed");
  } else if (choice.sampler.complete()) {
    message.finish = FinishReason::kStop;
  }
}

void Loop::observe_token(Choice& choice, TimePoint now) {
  metrics_->generation_tokens.add();
  if (choice.first_token.has_value()) {
    metrics_->inter_token_latency.observe(to_seconds(now - choice.last_token));
  } else {
    choice.first_token = now;
    metrics_->time_to_first_token.observe(to_seconds(now - choice.request->arrived));
    metrics_->prefill_time.observe(to_seconds(now - *choice.first_scheduled));
  }
  choice.last_token = now;
}

void Loop::release_siblings(Request& request) {
  for (auto& choice : request.choices) {
    if (choice->state == Sequence::State::kNew) scheduler_.add(*choice);
  }
}

void Loop::end_choice(Choice& choice, FinishReason reason) {
  if (handover_) handover_->abandon(choice);
  scheduler_.remove(choice);
  Request& request = *choice.request;
  metrics_->request_success.with({protocol::name_of(reason)}).add();
  metrics_->request_generation_tokens.observe(choice.generated());
  metrics_->request_num_preemptions.observe(choice.preemptions);
  request.longest_output = std::max(request.longest_output, choice.generated());
  if (choice.first_token.has_value()) {
    const double decode = to_seconds(choice.last_token - *choice.first_token);
    metrics_->decode_time.observe(decode);
    metrics_->inference_time.observe(to_seconds(choice.last_token - *choice.first_scheduled));
    metrics_->e2e_latency.observe(to_seconds(choice.last_token - request.arrived));
    if (choice.generated() > 1) {
      metrics_->time_per_output_token.observe(decode / (choice.generated() - 1));
    }
  }
  if (--request.unfinished == 0) {
    retire(request);
  } else if (choice.index == 0) {
    release_siblings(request);
  }
}

void Loop::end_with_message(Choice& choice, FinishReason reason, std::string error) {
  if (choice.state == Sequence::State::kFinished) return;
  TokenMessage message = message_for(choice);
  message.prompt_logprobs.clear();
  message.finish = reason;
  message.timing = timing_of(choice);
  message.error = internal_error(std::move(error));
  post(choice, std::move(message));
  end_choice(choice, reason);
}

void Loop::retire(Request& request) {
  if (!request.started) admission_->stopped_waiting();
  metrics_->request_max_num_generation_tokens.observe(request.longest_output);
  ++ended_;
  const auto entry = requests_.find(request.id);
  retired_.push_back(std::move(entry->second));
  requests_.erase(entry);
  if (--request.outbox->requests == 0 && request.outbox->messages.empty()) {
    outboxes_.erase(request.subscriber.get());
  }
}

void Loop::die(const std::string& reason) {
  log_error("engine is dead", {{"reason", reason}});
  failure_ = reason;
  handed_over_.clear();
  metrics_->healthy.set(0);
  end_all(FinishReason::kError, reason);
}

Timing Loop::timing_of(const Choice& choice) const {
  const TimePoint arrived = choice.request->arrived;
  if (!choice.first_scheduled) return {.queued = to_seconds(clock_->now() - arrived)};
  const TimePoint last = choice.first_token ? choice.last_token : clock_->now();
  const TimePoint first = choice.first_token.value_or(last);
  return {.queued = std::max(0.0, to_seconds(*choice.first_scheduled - arrived) - choice.transfer_seconds),
          .transfer = choice.transfer_seconds,
          .prefill = to_seconds(first - *choice.first_scheduled),
          .decode = to_seconds(last - first),
          .transfer_bytes = static_cast<std::int64_t>(choice.transfer_bytes)};
}

TokenMessage Loop::message_for(Choice& choice) const {
  TokenMessage message;
  message.request = choice.request->id;
  message.index = choice.index;
  message.cached_tokens = std::max(0, choice.cached_tokens) + choice.fetched_tokens;
  message.prompt_logprobs = std::exchange(choice.prompt_logprobs, {});
  return message;
}

void Loop::post(const Choice& choice, TokenMessage message) {
  Outbox& outbox = *choice.request->outbox;
  if (outbox.messages.empty()) filled_.push_back(&outbox);
  outbox.messages.push_back(std::move(message));
}

void Loop::emit() {
  for (Outbox* outbox : filled_) {
    outbox->subscriber->on_tokens(std::move(outbox->messages));
    outbox->messages.clear();
    if (outbox->requests == 0) outboxes_.erase(outbox->subscriber.get());
  }
  filled_.clear();
}

void Loop::publish_events() {
  if (events_ == nullptr) return;
  if (auto events = event_log_.take(); !events.empty()) events_->publish(std::move(events));
}

void Loop::publish_tier() {
  if (!pool_.tier()) return;
  const kv::HostTier::Traffic traffic = pool_.tier()->take_traffic();
  offloaded_bytes_->add(static_cast<double>(traffic.in));
  restored_bytes_->add(static_cast<double>(traffic.out));
  metrics_->kv_offload_blocks.set(pool_.tier()->kept());
}

void Loop::publish() {
  publish_events();
  publish_tier();
  metrics_->requests_running.set(static_cast<double>(scheduler_.running()));
  metrics_->requests_waiting.set(static_cast<double>(scheduler_.waiting()));
  waiting_for_capacity_->set(static_cast<double>(scheduler_.waiting()));
  if (handover_) {
    waiting_for_blocks_->set(static_cast<double>(handover_->waiting()));
    metrics_->kv_holds.set(handover_->holds());
  }
  metrics_->kv_cache_usage.set(static_cast<double>(pool_.used()) / pool_.total());
  metrics_->kv_blocks_used.set(pool_.used());
}

Stats Loop::stats() const {
  Stats stats;
  stats.running = static_cast<std::int32_t>(scheduler_.running());
  stats.waiting = static_cast<std::int32_t>(scheduler_.waiting());
  stats.blocks_total = pool_.total();
  stats.blocks_used = pool_.used();
  stats.blocks_cached = pool_.cached();
  stats.steps = steps_;
  stats.healthy = healthy();
  stats.failure = failure_;
  return stats;
}

}  // namespace braid::engine
