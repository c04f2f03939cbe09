// SPDX-License-Identifier: Apache-2.0
// Speculative decoding in the loop: whatever a drafter says, output is that of no drafter.
#include "engine/speculation/speculation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <tuple>

#include "engine/speculation/mtp_drafter.h"
#include "engine/speculation/ngram_drafter.h"
#include "engine/testing/harness.h"
#include "engine/testing/literal_grammar.h"

namespace braid::engine {
namespace {

using protocol::FinishReason;
using protocol::SamplingParams;
using testing::FakeModel;
using testing::Harness;
using testing::HarnessOptions;
using testing::prompt_of;

// Guesses at random; every so often nothing, or less than it might.
class RandomDrafter final : public Drafter {
 public:
  explicit RandomDrafter(int vocabulary) : vocabulary_(vocabulary) {}
  Status draft(std::span<const DraftWork> work, const DraftPlan&) override {
    for (const DraftWork& item : work) {
      const auto count = item.wanted == 0 ? 0 : static_cast<int>(random_() % static_cast<unsigned>(item.wanted + 1));
      for (int i = 0; i < count; ++i) {
        item.sequence->drafts.push_back(static_cast<std::int32_t>(random_() % static_cast<unsigned>(vocabulary_)));
      }
    }
    return {};
  }

 private:
  int vocabulary_;
  std::mt19937 random_{3};
};

HarnessOptions with_mtp(HarnessOptions options, int drafts) {
  options.model.draft_module = true;
  options.limits.max_drafts = drafts;
  options.drafter = [](FakeModel& model, kv::Cache& cache) {
    return std::make_unique<MtpDrafter>(model.draft_module(), &cache);
  };
  return options;
}

HarnessOptions with_random(HarnessOptions options, int drafts) {
  options.limits.max_drafts = drafts;
  const int vocabulary = options.model.vocabulary;
  options.drafter = [vocabulary](FakeModel&, kv::Cache&) { return std::make_unique<RandomDrafter>(vocabulary); };
  return options;
}

HarnessOptions with_ngram(HarnessOptions options, int drafts) {
  options.limits.max_drafts = drafts;
  options.drafter = [](FakeModel&, kv::Cache&) { return std::make_unique<NgramDrafter>(1, 3); };
  return options;
}

struct Job {
  std::vector<std::int32_t> prompt;
  SamplingParams params;
};

// Requests of every kind: greedy and sampled, penalties, bans, logprobs, stops, several choices.
std::vector<Job> jobs() {
  std::vector<Job> jobs;
  std::mt19937 random(11);
  for (int i = 0; i < 40; ++i) {
    Job job;
    job.prompt = prompt_of(1 + static_cast<int>(random() % 40), static_cast<int>(random() % 3));
    SamplingParams& p = job.params;
    p.max_tokens = 1 + static_cast<int>(random() % 40);
    p.seed = i % 5 == 0 ? std::optional<std::int64_t>() : i;
    if (i % 2 == 0) p.temperature = 0;
    if (i % 3 == 0) p.repetition_penalty = 1.3f;
    if (i % 4 == 0) p.presence_penalty = 0.7f;
    if (i % 4 == 1) p.top_k = 5;
    if (i % 4 == 2) p.top_p = 0.8f;
    if (i % 5 == 1) p.logprobs = 2;
    if (i % 5 == 2) p.stop_token_ids = {3, 17, 40, 41, 42};
    if (i % 7 == 3) p.min_tokens = std::min(p.max_tokens, 9);
    if (i % 7 == 4) p.prompt_logprobs = 1;
    if (i % 7 == 5) p.n = 3;
    if (i % 7 == 6) p.allowed_token_ids = {1, 2, 3, 4, 5, 50};
    if (i % 9 == 8) {
      p.structured.kind = protocol::StructuredOutput::Kind::kRegex;
      p.structured.text = "3 1 4 1 5 9 2 6";
    }
    jobs.push_back(std::move(job));
  }
  return jobs;
}

using Outcome = std::tuple<std::vector<std::int32_t>, FinishReason, std::optional<std::int32_t>, std::vector<float>>;

std::vector<Outcome> outcomes(HarnessOptions options, double* accepted = nullptr) {
  options.eos_ids = {33};
  options.grammars = std::make_shared<testing::LiteralCompiler>();
  Harness h(options);
  std::vector<std::pair<RequestId, int>> keys;
  for (const Job& job : jobs()) {
    const RequestId id = h.submit(job.prompt, job.params);
    for (int i = 0; i < job.params.n; ++i) keys.emplace_back(id, i);
  }
  h.run_until_idle();
  EXPECT_EQ(h.loop.stats().blocks_used, 0);
  if (accepted != nullptr) {
    *accepted = h.metrics.spec_decode_accepted_tokens.value() / h.metrics.spec_decode_draft_tokens.value();
  }
  std::vector<Outcome> all;
  for (const auto& [id, index] : keys) {
    const auto& heard = h.heard(id, index);
    std::vector<float> logprobs;
    for (const auto& position : heard.logprobs) {
      for (const TokenLogprob& l : position) logprobs.push_back(l.logprob);
    }
    for (const auto& position : heard.prompt_logprobs) logprobs.push_back(position ? position->front().logprob : 0);
    all.emplace_back(heard.tokens, heard.finish, heard.stop_token, logprobs);
  }
  return all;
}

TEST(Speculation, changes_no_token_logprob_or_ending_under_any_pressure) {
  const auto expected = outcomes({});
  const HarnessOptions pressures[] = {
      {},
      {.limits = {.max_batched_tokens = 5, .max_sequences = 8}},
      {.limits = {.max_batched_tokens = 1, .max_sequences = 3}},
      {.limits = {.max_batched_tokens = 64, .max_sequences = 8}, .blocks = 34},
      {.limits = {.max_batched_tokens = 16, .max_sequences = 8, .prefix_caching = false}, .blocks = 34},
      {.limits = {.max_batched_tokens = 32, .max_sequences = 8, .long_prefill_threshold = 3}, .blocks = 20, .block_size = 7},
      {.blocks = 130, .block_size = 1},
  };
  for (const HarnessOptions& options : pressures) {
    for (const int drafts : {1, 3, 7}) {
      SCOPED_TRACE(::testing::Message() << "budget " << options.limits.max_batched_tokens << ", blocks " << options.blocks
                                        << " of " << options.block_size << ", drafts " << drafts);
      EXPECT_EQ(outcomes(with_mtp(options, drafts)), expected);
      EXPECT_EQ(outcomes(with_random(options, drafts)), expected);
      EXPECT_EQ(outcomes(with_ngram(options, drafts)), expected);
    }
  }
}

TEST(Speculation, checks_several_tokens_a_step_and_counts_what_came_true) {
  Harness h(with_mtp({.limits = {.max_batched_tokens = 7, .max_sequences = 2}}, 3));
  SamplingParams params;
  params.temperature = 0;
  params.max_tokens = 14;
  h.submit(prompt_of(20), params);
  h.run_until_idle();
  EXPECT_EQ(h.metrics.spec_decode_drafts.value(), 3) << "14 = 1 + 3 times 4 + 1, and nothing can follow the last";
  EXPECT_EQ(h.metrics.spec_decode_draft_tokens.value(), 9);
  EXPECT_EQ(h.metrics.spec_decode_accepted_tokens.value(), 9) << "the fake module foresees everything";
  EXPECT_EQ(h.metrics.spec_decode_accepted_by_position.with({"2"}).value(), 3);
  EXPECT_EQ(h.loop.stats().steps, 3u + 4u) << "three chunks of the prompt, then four rounds";
}

TEST(Speculation, leaves_the_distribution_of_sampled_tokens_as_it_is) {
  constexpr int kVocabulary = 6, kSamples = 6000;
  Harness h(with_mtp({.model = {.vocabulary = kVocabulary},
                      .limits = {.max_batched_tokens = 256, .max_sequences = 64},
                      .blocks = 400,
                      .max_waiting = kSamples,
                      .max_logprobs = -1},
                     3));
  SamplingParams params;
  params.max_tokens = 3;
  params.logprobs = -1;
  std::vector<RequestId> ids;
  for (int i = 0; i < kSamples; ++i) {
    params.seed = i;
    ids.push_back(h.submit({1, 2, 3}, params));
  }
  h.run_until_idle();
  const double accepted = h.metrics.spec_decode_accepted_tokens.value() / h.metrics.spec_decode_draft_tokens.value();
  EXPECT_GT(accepted, 0.1);
  EXPECT_LT(accepted, 0.9) << "both outcomes must occur";

  std::map<std::vector<std::int32_t>, int> seen;
  std::map<std::vector<std::int32_t>, double> expected;
  for (const RequestId id : ids) {
    const auto& heard = h.heard(id);
    ++seen[heard.tokens];
    double logprob = 0;
    for (const auto& position : heard.logprobs) logprob += position.front().logprob;
    expected[heard.tokens] = std::exp(logprob) * kSamples;
  }
  double statistic = 0;
  int cells = 0;
  for (const auto& [tokens, count] : expected) {
    if (count < 5) continue;
    statistic += (seen[tokens] - count) * (seen[tokens] - count) / count;
    ++cells;
  }
  ASSERT_GT(cells, 20);
  EXPECT_LT(statistic, cells + 4 * std::sqrt(2.0 * cells)) << "chi square over " << cells << " continuations";
}

TEST(Speculation, rests_in_large_batches_and_for_sequences_that_it_did_not_follow) {
  auto options = with_mtp({}, 2);
  options.largest_draft_batch = 1;
  Harness h(options);
  SamplingParams params;
  params.temperature = 0;
  params.max_tokens = 30;
  h.submit(prompt_of(6), params);
  params.max_tokens = 10;
  h.submit(prompt_of(9, 2), params);
  h.run_until_idle();
  EXPECT_EQ(h.metrics.spec_decode_drafts.value(), 0) << "the first one's beginning was not followed";
  h.submit(prompt_of(7, 3), params);
  h.run_until_idle();
  EXPECT_GT(h.metrics.spec_decode_drafts.value(), 0);
  EXPECT_EQ(h.metrics.spec_decode_accepted_tokens.value(), h.metrics.spec_decode_draft_tokens.value());
}

class FailingDrafter final : public Drafter {
 public:
  Status draft(std::span<const DraftWork>, const DraftPlan&) override { return internal_error("planted failure"); }
};

TEST(Speculation, a_drafter_that_fails_ends_every_request_with_the_reason) {
  HarnessOptions options;
  options.limits.max_drafts = 1;
  options.drafter = [](FakeModel&, kv::Cache&) { return std::make_unique<FailingDrafter>(); };
  Harness h(options);
  SamplingParams params;
  params.max_tokens = 5;
  const auto id = h.submit(prompt_of(4), params);
  h.run_until_idle();
  EXPECT_EQ(h.heard(id).finish, FinishReason::kError);
  EXPECT_THAT(h.heard(id).error, ::testing::HasSubstr("planted failure"));
  EXPECT_EQ(h.loop.stats().blocks_used, 0);
}

TEST(Speculation, survives_random_requests_and_cancellations) {
  Harness h(with_mtp({.limits = {.max_batched_tokens = 24, .max_sequences = 6}, .blocks = 40}, 3));
  std::mt19937 random(99);
  std::vector<RequestId> ids;
  for (int step = 0; step < 2000; ++step) {
    if (random() % 4 == 0) {
      SamplingParams params;
      params.max_tokens = 1 + static_cast<int>(random() % 40);
      params.n = 1 + static_cast<int>(random() % 3);
      if (random() % 2 == 0) params.temperature = 0;
      auto id = h.submit(h.message(prompt_of(1 + static_cast<int>(random() % 60), random() % 4), params));
      if (id.ok()) ids.push_back(id.value());
    }
    if (!ids.empty() && random() % 5 == 0) h.loop.cancel(ids[random() % ids.size()], static_cast<int>(random() % 4) - 1);
    h.loop.step();
  }
  h.run_until_idle();
  EXPECT_EQ(h.loop.stats().blocks_used, 0);
  EXPECT_GT(h.metrics.preemptions.value(), 0);
  EXPECT_GT(h.metrics.spec_decode_accepted_tokens.value(), 0);
}

}  // namespace
}  // namespace braid::engine
