// SPDX-License-Identifier: Apache-2.0
// What the serving process and the engine of a rank say to each other over a control connection
// (fabric/connection.h). The serving process numbers requests; the rank uses its numbers.
//
//   to the rank                              from the rank
//   kSubmit   Submit                         kTokens   list of TokenMessage; kError for what is refused
//   kCancel   Cancel
//   kMetrics  (empty)                        kMetrics  Prometheus text
//   kTimeline (empty)                        kTimeline events of its newest steps (base/timeline.h)
//   kDrain    milliseconds as int64          kDrained  (empty)
//   kResetPrefixCache (empty)                kStats    Stats, when they change
//   kExit     (empty): leave now             kReady    Ready, once
//   kGroup    Group: who steps together      kGather   Gather: the rank's text of a collective
//   kGathered Gathered, to all of a group    kFormed   Formed, once a group
//   kWelcome  (empty), or kRefused with the reason: the first frame, an answer to the rank's hello
//
// A rank is Ready when it has loaded its model; kStats comes every half second from then on, as a sign
// of life.
#pragma once

#include "engine/engine.h"
#include "engine/remote/archive.h"

namespace braid::engine {

enum class FrameType : std::uint8_t {
  kSubmit = 1, kCancel, kMetrics, kDrain, kResetPrefixCache, kExit, kGathered, kGroup, kWelcome, kRefused, kTimeline,
  kTokens = 101, kDrained, kStats, kReady, kGather, kFormed,
};

// SubmitMessage without its subscriber; the deadline as what is left of it.
struct Submit {
  RequestId request = 0;
  SubmitMessage message;
  std::optional<std::int64_t> nanoseconds_left;
};

struct CancelMessage {
  RequestId request = 0;
  std::int32_t index = -1;
};

struct Ready {
  std::int32_t max_model_len = 0;
  bool in_step = false;  // it steps together with others, in groups
  std::string error;     // why it is not ready; empty: it is
};

struct Group {
  std::uint64_t generation = 0;       // grows
  std::vector<std::int32_t> members;  // data-parallel ranks, ascending
};

struct Gather {
  std::uint64_t generation = 0;
  std::string text;
};

struct Gathered {
  std::uint64_t generation = 0;
  std::vector<std::string> texts;  // in the order of the members
};

struct Formed {
  std::uint64_t generation = 0;
  std::string error;  // empty: it is formed
};

template <class Archive>
void fields(Archive& a, Group& v) {
  a.all(v.generation, v.members);
}

template <class Archive>
void fields(Archive& a, Gather& v) {
  a.all(v.generation, v.text);
}

template <class Archive>
void fields(Archive& a, Gathered& v) {
  a.all(v.generation, v.texts);
}

template <class Archive>
void fields(Archive& a, Formed& v) {
  a.all(v.generation, v.error);
}

template <class Archive>
void fields(Archive& a, protocol::StructuredOutput& v) {
  a.all(v.kind, v.text, v.choices, v.trigger);
}

template <class Archive>
void fields(Archive& a, protocol::ReasoningSpan& v) {
  a.all(v.open, v.close, v.open_in_prompt, v.budget);
}

template <class Archive>
void fields(Archive& a, protocol::SamplingParams& v) {
  a.all(v.n, v.max_tokens, v.min_tokens, v.temperature, v.top_p, v.top_k, v.min_p, v.presence_penalty,
        v.frequency_penalty, v.repetition_penalty, v.seed, v.logit_bias, v.allowed_token_ids, v.bad_words, v.stop,
        v.stop_token_ids, v.include_stop_str_in_output, v.ignore_eos, v.logprobs, v.prompt_logprobs,
        v.skip_special_tokens, v.spaces_between_special_tokens, v.structured,
        v.reasoning);
}

template <class Archive>
void fields(Archive& a, Progress& v) {
  a.all(v.tokens, v.ended);
}

template <class Archive>
void fields(Archive& a, Submit& v) {
  a.all(v.request, v.message.prompt, v.message.progress, v.message.params, v.message.priority, v.message.cache_salt,
        v.message.request_id, v.message.kv_transfer_params, v.nanoseconds_left);
}

template <class Archive>
void fields(Archive& a, CancelMessage& v) {
  a.all(v.request, v.index);
}

template <class Archive>
void fields(Archive& a, Ready& v) {
  a.all(v.max_model_len, v.in_step, v.error);
}

template <class Archive>
void fields(Archive& a, Stats& v) {
  a.all(v.running, v.waiting, v.blocks_total, v.blocks_used, v.blocks_cached, v.steps, v.healthy, v.failure);
}

}  // namespace braid::engine

namespace braid {

template <class Archive>
void fields(Archive& a, Error& v) {
  a.all(v.code, v.message, v.param);
}

}  // namespace braid

namespace braid::sample {

template <class Archive>
void fields(Archive& a, TokenLogprob& v) {
  a.all(v.token, v.logprob, v.rank);
}

}  // namespace braid::sample

namespace braid::engine {

template <class Archive>
void fields(Archive& a, Timing& v) {
  a.all(v.queued, v.transfer, v.prefill, v.decode, v.transfer_bytes);
}

template <class Archive>
void fields(Archive& a, TokenMessage& v) {
  a.all(v.request, v.index, v.timing, v.tokens, v.logprobs, v.prompt_logprobs, v.finish, v.stop_token, v.error, v.cached_tokens, v.kv_transfer_params);
}

}  // namespace braid::engine
