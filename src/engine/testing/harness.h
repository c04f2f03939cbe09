// SPDX-License-Identifier: Apache-2.0
// An engine without its thread: tests decide when a step happens and what time it is.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "engine/loop.h"
#include "engine/testing/fake_model.h"

namespace braid::engine::testing {

using ChoiceKey = std::pair<RequestId, int>;

// A prompt of ids below 64, the vocabulary of a FakeModel.
inline std::vector<std::int32_t> prompt_of(int length, int first = 1) {
  std::vector<std::int32_t> prompt(static_cast<std::size_t>(length));
  for (int i = 0; i < length; ++i) prompt[static_cast<std::size_t>(i)] = (first + i * 7) % 64;
  return prompt;
}

// Everything a subscriber heard, by choice.
struct Heard {
  std::vector<std::int32_t> tokens;
  std::vector<PositionLogprobs> logprobs;
  std::vector<std::optional<PositionLogprobs>> prompt_logprobs;
  protocol::FinishReason finish = protocol::FinishReason::kNone;
  std::optional<std::int32_t> stop_token;
  std::string error;
  std::int32_t cached_tokens = 0;
};

class Recorder final : public Subscriber {
 public:
  void on_tokens(std::vector<TokenMessage>&& messages) override {
    ++calls;
    for (TokenMessage& m : messages) {
      Heard& h = heard[{m.request, m.index}];
      EXPECT_EQ(h.finish, protocol::FinishReason::kNone) << "nothing comes after the end";
      h.tokens.insert(h.tokens.end(), m.tokens.begin(), m.tokens.end());
      for (auto& l : m.logprobs) h.logprobs.push_back(std::move(l));
      for (auto& l : m.prompt_logprobs) h.prompt_logprobs.push_back(std::move(l));
      h.finish = m.finish;
      h.stop_token = m.stop_token;
      h.error = m.error.message;
      h.cached_tokens = m.cached_tokens;
      if (!m.kv_transfer_params.empty()) transfer[m.request] = m.kv_transfer_params;
    }
  }
  std::map<ChoiceKey, Heard> heard;
  std::map<RequestId, std::string> transfer;  // kv_transfer_params of answers
  int calls = 0;
};

struct HarnessOptions {
  FakeModelOptions model = {};
  SchedulerLimits limits = {.max_batched_tokens = 64, .max_sequences = 8};
  std::int32_t blocks = 64;
  int block_size = 4;
  std::int32_t max_model_len = 128;
  std::int32_t max_waiting = 100;
  int max_logprobs = 20;
  bool priority = false;
  std::vector<std::int32_t> eos_ids = {};
  std::shared_ptr<const text::GrammarCompiler> grammars = nullptr;
  std::shared_ptr<const text::Tokenizer> tokenizer = nullptr;
  std::function<void(const StepPlan&)> trace = {};
  // What drafts `limits.max_drafts` tokens while no more than `largest_draft_batch` sequences run.
  std::function<std::unique_ptr<Drafter>(FakeModel&, kv::Cache&)> drafter = {};
  std::size_t largest_draft_batch = 1000;
  events::Publisher* events = nullptr;
  transfer::Node* node = nullptr;  // shared already
  std::int32_t host_blocks = 0;    // of the host tier; 0: none
};

inline kv::Paging paging_of(const HarnessOptions& o) {
  return {o.block_size, FakeModel(o.model).cache_layout().grouped().groups, o.limits.max_batched_tokens};
}

class Harness {
 public:
  explicit Harness(const HarnessOptions& o = {})
      : model(o.model),
        hasher(prefix::Algorithm::kXxhashCbor, "0"),
        cache(model.cache_layout().grouped(), o.blocks, o.block_size, place_of(o.node)),
        tier(&cache, Buffer(static_cast<std::size_t>(o.host_blocks) * kv::HostTier::block_bytes(cache.layout(), o.block_size))),
        admission({.max_model_len = static_cast<std::int32_t>(std::min<std::int64_t>(o.max_model_len, paging_of(o).longest(o.blocks))),
                   .max_batched_tokens = o.limits.max_batched_tokens,
                   .chunked_prefill = o.limits.chunked_prefill,
                   .priority = o.priority,
                   .max_waiting = o.max_waiting,
                   .max_logprobs = o.max_logprobs,
                   .paging = paging_of(o)},
                  Vocabulary{o.model.vocabulary, o.eos_ids, o.grammars, {}, o.tokenizer},
                  &hasher,
                  &metrics,
                  &clock),
        speculation(o.drafter ? o.drafter(model, cache) : nullptr,
                    Pace(o.limits.max_drafts, o.largest_draft_batch),
                    o.max_model_len,
                    &metrics),
        loop({&model,
              &cache,
              &admission,
              &metrics,
              &clock,
              o.limits,
              o.drafter ? &speculation : nullptr,
              o.trace,
              nullptr,
              nullptr,
              {},
              o.events,
              o.node,
              nullptr,
              o.host_blocks > 0 ? &tier : nullptr}),
        node(o.node) {
    if (node) node->start([] {});
  }
  ~Harness() {
    if (node) node->stop();
  }

  SubmitMessage message(std::vector<std::int32_t> prompt, protocol::SamplingParams params) {
    SubmitMessage m;
    m.prompt = std::move(prompt);
    m.params = std::move(params);
    m.subscriber = recorder;
    return m;
  }

  Result<RequestId> submit(SubmitMessage m) {
    auto request = admission.admit(std::move(m));
    if (!request.ok()) return request.error();
    RETURN_IF_ERROR(admission.start_waiting());
    const RequestId id = request.value()->id;
    loop.receive(std::move(request).value());
    return id;
  }

  RequestId submit(std::vector<std::int32_t> prompt, protocol::SamplingParams params) {
    return submit(message(std::move(prompt), std::move(params))).value();
  }

  void run_until_idle() {
    for (int steps = 0; !loop.idle(); ++steps) {
      ASSERT_LT(steps, 100000) << "the loop does not come to an end";
      loop.step();
    }
  }

  const Heard& heard(RequestId request, int index = 0) { return recorder->heard[{request, index}]; }

  static std::function<std::byte*(int)> place_of(transfer::Node* node) {
    if (node == nullptr) return {};
    return [node](int layer) { return node->layer(layer); };
  }

  FakeModel model;
  Metrics metrics;
  ManualClock clock;
  prefix::BlockHasher hasher;
  kv::Cache cache;
  kv::HostTier tier;
  Admission admission;
  Speculation speculation;
  Loop loop;
  transfer::Node* const node;
  std::shared_ptr<Recorder> recorder = std::make_shared<Recorder>();
};

}  // namespace braid::engine::testing
