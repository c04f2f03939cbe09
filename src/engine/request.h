// SPDX-License-Identifier: Apache-2.0
// A request inside the engine: what was submitted, and one sequence with its sampler per choice.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/engine.h"
#include "engine/messages.h"
#include "engine/sequence.h"
#include "sample/row_sampler.h"
#include "transfer/wire.h"

namespace braid::engine {

struct Request;

// Messages of one step for one subscriber.
struct Outbox {
  std::shared_ptr<Subscriber> subscriber;
  std::vector<TokenMessage> messages;
  int requests = 0;  // that use it
};

struct Choice : Sequence {
  Choice(Request* owner,
         std::vector<std::int32_t> prompt,
         const kv::Paging& paging,
         prefix::BlockHasher* hasher,
         std::string salt,
         sample::RowSampler row_sampler)
      : Sequence(std::move(prompt), paging, hasher, std::move(salt)),
        request(owner),
        sampler(std::move(row_sampler)) {}

  Request* request;
  sample::RowSampler sampler;
  std::vector<std::optional<PositionLogprobs>> prompt_logprobs;
  std::optional<TimePoint> first_scheduled;
  std::optional<TimePoint> first_token;
  TimePoint last_token{};
  int preemptions = 0;
  bool spoke = false;  // its subscriber heard of it
  bool promised = false;           // to a reader, while it was computed
  double transfer_seconds = 0;     // that reading from it took
  std::size_t transfer_bytes = 0;
  std::uint64_t fetch = 0;  // of what another engine has for it (engine/handover.h); 0: nothing
};

struct Request final : Admitted {
  RequestId id = 0;
  protocol::SamplingParams params;
  transfer::Params transfer;
  std::int32_t prompt_length = 0;
  std::optional<TimePoint> deadline;
  std::shared_ptr<Subscriber> subscriber;
  Outbox* outbox = nullptr;
  TimePoint arrived{};
  bool started = false;  // computed at least once; no longer counted as waiting
  std::vector<std::unique_ptr<Choice>> choices;
  int unfinished = 0;
  std::int32_t longest_output = 0;
};

}  // namespace braid::engine
