// SPDX-License-Identifier: Apache-2.0
// The gate in front of the engine thread: refuses what cannot be served, and makes a Request of the
// rest. Thread safety: admit() may be called from any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "engine/engine.h"
#include "engine/request.h"

namespace braid::engine {

struct AdmissionLimits {
  std::int32_t max_model_len = 0;
  std::int32_t max_batched_tokens = 0;
  bool chunked_prefill = true;
  bool priority = false;
  std::int32_t max_waiting = 0;
  int max_logprobs = 20;
  kv::Paging paging = 16;
  std::uint64_t seed = 0;
  bool lends = true;    // blocks to other engines, if it exchanges any
  bool borrows = true;  // theirs
};

// kInvalidArgument when the message is pinned to a rank that is not among `ranks`.
Status check_rank(const SubmitMessage& message, std::size_t ranks);

class Admission {
 public:
  // `hasher` (used on the engine thread only), `metrics` and `clock` outlive it.
  Admission(const AdmissionLimits& limits,
            Vocabulary vocabulary,
            prefix::BlockHasher* hasher,
            Metrics* metrics,
            const Clock* clock);

  // kInvalidArgument with the number that would fit.
  Result<std::unique_ptr<Request>> admit(SubmitMessage message);

  // An admitted request joins the waiting line; kResourceExhausted when too many wait.
  Status start_waiting();
  // A request left the waiting line: it was computed for the first time, or ended before.
  void stopped_waiting() { waiting_.fetch_sub(1, std::memory_order_relaxed); }
  std::int32_t waiting() const { return waiting_.load(std::memory_order_relaxed); }

  const AdmissionLimits& limits() const { return limits_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  Status check(const SubmitMessage& message) const;
  Status check_length(const SubmitMessage& message) const;
  Status check_tokens(const SubmitMessage& message) const;
  Result<transfer::Params> read_transfer(const SubmitMessage& message) const;
  Status check_params(const protocol::SamplingParams& params) const;
  Result<std::unique_ptr<text::GrammarMatcher>> compile_grammar(
      const protocol::StructuredOutput& structured) const;
  // The grammar of the whole output; null: anything may come.
  Result<std::unique_ptr<text::GrammarMatcher>> make_matcher(const protocol::SamplingParams& params) const;
  Result<std::vector<std::vector<std::int32_t>>> encode_bad_words(
      const std::vector<std::string>& words) const;
  static Status go_on(Choice& choice, const Progress& progress);
  Result<std::unique_ptr<Request>> build(SubmitMessage message);

  const AdmissionLimits limits_;
  const Vocabulary vocabulary_;
  prefix::BlockHasher* const hasher_;
  Metrics* const metrics_;
  const Clock* const clock_;
  std::atomic<RequestId> next_id_{1};
  std::atomic<std::int32_t> waiting_{0};
};

}  // namespace braid::engine
