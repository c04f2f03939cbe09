// SPDX-License-Identifier: Apache-2.0
#include "engine/loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "engine/cache_size.h"
#include "engine/speculation/mtp_drafter.h"
#include "engine/testing/harness.h"
#include "engine/testing/literal_grammar.h"

namespace braid::engine {
namespace {

using protocol::FinishReason;
using protocol::SamplingParams;
using ::testing::HasSubstr;
using testing::Harness;
using testing::HarnessOptions;
using testing::prompt_of;

SamplingParams sampled(int max_tokens, std::optional<std::int64_t> seed = 5) {
  SamplingParams params;
  params.max_tokens = max_tokens;
  params.seed = seed;
  return params;
}

SamplingParams greedy(int max_tokens) {
  SamplingParams params = sampled(max_tokens);
  params.temperature = 0;
  return params;
}

TEST(Loop, generates_until_max_tokens) {
  Harness h;
  const auto id = h.submit(prompt_of(10), greedy(7));
  h.run_until_idle();
  EXPECT_EQ(h.heard(id).tokens.size(), 7u);
  EXPECT_EQ(h.heard(id).finish, FinishReason::kLength);
  EXPECT_EQ(h.loop.stats().blocks_used, 0);
  EXPECT_EQ(h.metrics.generation_tokens.value(), 7);
  EXPECT_EQ(h.metrics.request_success.with({"length"}).value(), 1);
}

TEST(Loop, ends_at_eos_unless_told_to_ignore_it_and_at_stop_ids) {
  Harness probe;
  const auto plain = probe.submit(prompt_of(5), greedy(6));
  probe.run_until_idle();
  const std::int32_t third = probe.heard(plain).tokens[2];
  const auto first_at = [&](const std::vector<std::int32_t>& tokens) {
    return std::find(tokens.begin(), tokens.end(), third) - tokens.begin() + 1;
  };
  const auto cut = static_cast<std::size_t>(first_at(probe.heard(plain).tokens));

  Harness h({.eos_ids = {third}});
  const auto stopped = h.submit(prompt_of(5), greedy(6));
  auto ignoring = greedy(6);
  ignoring.ignore_eos = true;
  const auto whole = h.submit(prompt_of(5), ignoring);
  ignoring.stop_token_ids = {third};
  const auto by_id = h.submit(prompt_of(5), ignoring);
  auto longer = greedy(6);
  longer.min_tokens = 5;
  const auto at_least = h.submit(prompt_of(5), longer);
  h.run_until_idle();
  EXPECT_EQ(h.heard(stopped).tokens.size(), cut);
  EXPECT_EQ(h.heard(stopped).finish, FinishReason::kStop);
  EXPECT_FALSE(h.heard(stopped).stop_token.has_value());
  EXPECT_EQ(h.heard(whole).tokens.size(), 6u);
  EXPECT_EQ(h.heard(by_id).tokens.size(), cut);
  EXPECT_EQ(h.heard(by_id).stop_token, third);
  EXPECT_GE(h.heard(at_least).tokens.size(), 5u);
}

// Greedy and at random, with drafts, and with what only the sampler knows: penalties, log-probabilities, least lengths.
TEST(Loop, a_model_that_chooses_gives_the_tokens_that_the_sampler_would_choose) {
  const auto answers = [](bool chooses, bool drafts) {
    HarnessOptions options{.model = {.draft_module = drafts, .chooses = chooses}};
    if (drafts) {
      options.limits.max_drafts = 2;
      options.drafter = [](testing::FakeModel& model, kv::Cache& cache) { return std::make_unique<MtpDrafter>(model.draft_module(), &cache); };
    }
    Harness h(options);
    std::vector<RequestId> ids;
    for (int i = 0; i < 12; ++i) {
      SamplingParams params = i % 4 == 0 ? greedy(9) : sampled(9, i);
      params.top_k = i % 3 == 0 ? 5 : 0;
      params.top_p = i % 5 == 0 ? 0.8f : 1.0f;
      params.frequency_penalty = i == 3 ? 0.5f : 0.0f;
      params.min_tokens = i == 5 ? 4 : 0;
      if (i == 7) params.logprobs = 2;
      if (i == 8) params.prompt_logprobs = 1;
      ids.push_back(h.submit(prompt_of(3 + i, i), params));
    }
    h.run_until_idle();
    std::vector<std::vector<std::int32_t>> tokens;
    for (const auto id : ids) tokens.push_back(h.heard(id).tokens);
    return tokens;
  };
  const auto wanted = answers(false, false);
  EXPECT_EQ(wanted.front().size(), 9u);
  EXPECT_EQ(answers(true, false), wanted);
  EXPECT_EQ(answers(true, true), wanted);
}

// The same requests under every kind of pressure; what each gets must not change. With and without a layer
// that sees only a window, whose blocks are given back meanwhile.
class LoopOfWindow : public ::testing::TestWithParam<int> {};

TEST_P(LoopOfWindow, output_depends_on_neither_batch_nor_chunks_nor_preemption_nor_cache) {
  const int window = GetParam();
  struct Job {
    int length, first, max_tokens;
    std::optional<std::int64_t> seed;
  };
  std::vector<Job> jobs;
  std::mt19937 random(7);
  for (int i = 0; i < 12; ++i) {
    jobs.push_back({1 + static_cast<int>(random() % 40),
                    static_cast<int>(random() % 3),
                    1 + static_cast<int>(random() % 30),
                    i % 3 == 0 ? std::optional<std::int64_t>() : std::optional<std::int64_t>(i)});
  }
  std::vector<std::vector<std::int32_t>> alone;
  {
    Harness h({.model = {.window = window}, .limits = {.max_batched_tokens = 128, .max_sequences = 1, .prefix_caching = false}, .blocks = 128});
    std::vector<RequestId> ids;
    for (const Job& job : jobs) {
      ids.push_back(h.submit(prompt_of(job.length, job.first), sampled(job.max_tokens, job.seed)));
    }
    h.run_until_idle();
    for (const auto id : ids) alone.push_back(h.heard(id).tokens);
  }
  const HarnessOptions pressures[] = {
      {},
      {.limits = {.max_batched_tokens = 5, .max_sequences = 8}},
      {.limits = {.max_batched_tokens = 1, .max_sequences = 3}},
      {.limits = {.max_batched_tokens = 64, .max_sequences = 8}, .blocks = 18},
      {.limits = {.max_batched_tokens = 16, .max_sequences = 8, .prefix_caching = false}, .blocks = 18},
      {.limits = {.max_batched_tokens = 32, .max_sequences = 8, .long_prefill_threshold = 3},
       .blocks = 20,
       .block_size = 7},
      {.blocks = 80, .block_size = 1},
      {.limits = {.max_batched_tokens = 64, .max_sequences = 8}, .blocks = 18, .host_blocks = 7},
      {.limits = {.max_batched_tokens = 16, .max_sequences = 8}, .blocks = 18, .host_blocks = 300},
  };
  for (HarnessOptions options : pressures) {
    options.model.window = window;
    if (window > 0) options.blocks *= 2;
    SCOPED_TRACE(::testing::Message() << "budget " << options.limits.max_batched_tokens << ", blocks "
                                      << options.blocks << " of " << options.block_size);
    Harness h(options);
    std::vector<RequestId> ids;
    for (const Job& job : jobs) {
      ids.push_back(h.submit(prompt_of(job.length, job.first), sampled(job.max_tokens, job.seed)));
    }
    h.run_until_idle();
    for (std::size_t i = 0; i < jobs.size(); ++i) EXPECT_EQ(h.heard(ids[i]).tokens, alone[i]) << i;
    EXPECT_EQ(h.loop.stats().blocks_used, 0);
    if (options.blocks < 20) {
      EXPECT_GT(h.metrics.preemptions.value(), 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Tokens, LoopOfWindow, ::testing::Values(0, 1, 6, 9), ::testing::PrintToStringParamName());

TEST(Loop, blocks_in_use_are_those_of_the_window_and_what_was_given_back_is_found_again) {
  Harness h({.model = {.window = 6}, .limits = {.max_batched_tokens = 8, .max_sequences = 8}, .blocks = 64, .max_model_len = 200});
  const auto prompt = prompt_of(100);
  const auto first = h.submit(prompt, greedy(30));
  const kv::Paging paging = testing::paging_of({.model = {.window = 6}, .limits = {.max_batched_tokens = 8}});
  EXPECT_EQ(paging.most_blocks(130), 33 + 5);
  while (h.loop.step()) {
    EXPECT_LE(h.loop.stats().blocks_used, paging.most_blocks(130)) << "33 of the layer that sees all";
  }
  EXPECT_EQ(h.loop.stats().blocks_used, 0);
  const auto again = h.submit(prompt, greedy(30));
  h.run_until_idle();
  EXPECT_EQ(h.heard(again).tokens, h.heard(first).tokens);
  EXPECT_EQ(h.heard(again).cached_tokens, 96);

  // Another prompt takes blocks that were given back first: of the window only ends of prefixes are left.
  h.submit(prompt_of(100, 1), greedy(1));
  h.run_until_idle();
  const auto once_more = h.submit(prompt, greedy(30));
  h.run_until_idle();
  EXPECT_EQ(h.heard(once_more).tokens, h.heard(first).tokens);
}

TEST(Loop, a_prefix_comes_back_from_the_host_also_of_layers_with_windows) {
  for (const int window : {0, 6}) {
    for (const bool tier : {false, true}) {
      Harness h({.model = {.window = window}, .limits = {.max_batched_tokens = 64, .max_sequences = 8}, .blocks = 40, .max_model_len = 64, .host_blocks = tier ? 400 : 0});
      const auto first = h.submit(prompt_of(50), greedy(5));
      h.run_until_idle();
      for (int other = 2; other < 8; ++other) h.submit(prompt_of(50, other), greedy(5));
      h.run_until_idle();
      const double computed = h.metrics.prompt_tokens_by_source.with({"local_compute"}).value();
      const auto again = h.submit(prompt_of(50), greedy(5));
      h.run_until_idle();
      EXPECT_EQ(h.heard(again).tokens, h.heard(first).tokens);
      EXPECT_EQ(h.heard(again).cached_tokens, tier ? 48 : 0);
      EXPECT_EQ(h.metrics.prompt_tokens_by_source.with({"local_compute"}).value() - computed, tier ? 2 : 50);
      EXPECT_EQ(h.metrics.external_prefix_cache_hits.value(), tier ? 48 : 0);
      EXPECT_EQ(h.metrics.kv_offload_bytes.with({"CPU_to_GPU"}).value() > 0, tier);
      EXPECT_EQ(h.loop.stats().blocks_used, 0);
    }
  }
}

TEST(Loop, layers_kept_whole_need_twice_the_blocks) {
  const kv::Layout layout = [] {
    kv::Layout l{4, 100, DType::kBF16};
    l.spans = {{}, {32, 0}, {}, {32, 0}};
    return l;
  }();
  Settings settings;
  settings.scheduler.max_num_batched_tokens = 64;
  settings.scheduler.max_num_seqs = 2;
  const kv::Layout grouped = cache_layout(settings, layout);
  EXPECT_EQ(grouped.bytes_per_slot(), layout.bytes_per_slot() / 2);
  EXPECT_EQ(cache_blocks(settings, grouped, 16000, std::int64_t{1} << 40), 2 * (1000 + 7));
  EXPECT_EQ(cache_blocks(settings, layout, 16000, std::int64_t{1} << 40), 2 * 1000);
  settings.cache.num_blocks_override = 1006;
  EXPECT_THAT(check_cache(settings, grouped, 16000, std::int64_t{1} << 40).error().message, HasSubstr("--max-model-len to at most 15984"));
  settings.cache.disable_hybrid = true;
  EXPECT_EQ(cache_layout(settings, layout).groups.size(), 1);
}

TEST(Loop, choices_share_the_prompts_blocks_and_draw_with_seeds_of_their_own) {
  for (const bool caching : {true, false}) {
    Harness h({.limits = {.max_batched_tokens = 64, .max_sequences = 8, .prefix_caching = caching}});
    auto params = sampled(6, 40);
    params.n = 3;
    const auto many = h.submit(prompt_of(17), params);
    h.loop.step();
    h.loop.step();
    EXPECT_EQ(h.loop.stats().running, 3);
    EXPECT_EQ(h.loop.stats().blocks_used, 4 + 3) << "four shared blocks and a tail for each";
    h.run_until_idle();
    for (int i = 0; i < 3; ++i) {
      const auto single = h.submit(prompt_of(17), sampled(6, 40 + i));
      h.run_until_idle();
      EXPECT_EQ(h.heard(many, i).tokens, h.heard(single).tokens) << i;
      EXPECT_EQ(h.heard(many, i).finish, FinishReason::kLength);
    }
    EXPECT_EQ(h.loop.stats().blocks_used, 0);
  }
}

TEST(Loop, a_salt_separates_prefixes) {
  Harness h;
  const auto with_salt = [&](const char* salt) {
    auto message = h.message(prompt_of(16), greedy(1));
    message.cache_salt = salt;
    const auto id = h.submit(std::move(message)).value();
    h.run_until_idle();
    return h.heard(id).cached_tokens;
  };
  EXPECT_EQ(with_salt(""), 0);
  EXPECT_EQ(with_salt(""), 12);
  EXPECT_EQ(with_salt("a"), 0);
  EXPECT_EQ(with_salt("a"), 12);
  h.loop.reset_prefix_cache();
  EXPECT_EQ(with_salt("a"), 0);
}

TEST(Loop, gives_logprobs_of_outputs_and_of_every_prompt_token) {
  for (const std::int32_t budget : {64, 5}) {
    Harness h({.limits = {.max_batched_tokens = budget, .max_sequences = 4}, .max_logprobs = -1});
    const auto prompt = prompt_of(13);
    h.submit(prompt, greedy(1));
    h.run_until_idle();
    auto params = greedy(3);
    params.logprobs = 2;
    params.prompt_logprobs = -1;
    const auto id = h.submit(prompt, params);
    h.run_until_idle();
    const auto& heard = h.heard(id);
    EXPECT_EQ(heard.cached_tokens, 0) << "prompt logprobs need every row";
    ASSERT_EQ(heard.prompt_logprobs.size(), prompt.size());
    EXPECT_FALSE(heard.prompt_logprobs[0].has_value());
    for (std::size_t i = 1; i < prompt.size(); ++i) {
      ASSERT_EQ(heard.prompt_logprobs[i]->size(), 65u);
      EXPECT_EQ(heard.prompt_logprobs[i]->front().token, prompt[i]);
    }
    ASSERT_EQ(heard.logprobs.size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) {
      ASSERT_EQ(heard.logprobs[i].size(), 3u);
      EXPECT_EQ(heard.logprobs[i][0].token, heard.tokens[i]);
      EXPECT_EQ(heard.logprobs[i][0].rank, 1);
      EXPECT_EQ(heard.logprobs[i][1].token, heard.tokens[i]);
    }
  }
}

TEST(Loop, scores_a_prompt_without_generating) {
  Harness h;
  auto params = greedy(0);
  params.prompt_logprobs = 0;
  const auto id = h.submit(prompt_of(9), params);
  h.run_until_idle();
  EXPECT_EQ(h.heard(id).prompt_logprobs.size(), 9u);
  EXPECT_TRUE(h.heard(id).tokens.empty());
  EXPECT_EQ(h.heard(id).finish, FinishReason::kLength);
}

TEST(Loop, follows_a_grammar_and_stops_when_it_is_complete) {
  Harness h({.grammars = std::make_shared<testing::LiteralCompiler>()});
  auto params = sampled(20);
  params.n = 2;
  params.structured.kind = protocol::StructuredOutput::Kind::kRegex;
  params.structured.text = "3 1 4 1 5";
  const auto id = h.submit(prompt_of(6), params);
  params.structured.text = "";
  EXPECT_FALSE(h.submit(h.message(prompt_of(6), params)).ok());
  h.run_until_idle();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(h.heard(id, i).tokens, (std::vector<std::int32_t>{3, 1, 4, 1, 5}));
    EXPECT_EQ(h.heard(id, i).finish, FinishReason::kStop);
  }
}

TEST(Loop, says_so_when_no_token_is_allowed) {
  Harness h;
  auto params = greedy(5);
  params.allowed_token_ids = {7};
  params.logit_bias = {{7, -std::numeric_limits<float>::infinity()}};
  const auto id = h.submit(prompt_of(6), params);
  h.run_until_idle();
  EXPECT_EQ(h.heard(id).finish, FinishReason::kError);
  EXPECT_THAT(h.heard(id).error, HasSubstr("no token can follow"));
  EXPECT_EQ(h.metrics.corrupted_requests.value(), 1);
}

TEST(Loop, a_model_failure_ends_every_request_with_the_reason) {
  Harness h({.model = {.fail_at = 2}});
  const auto a = h.submit(prompt_of(9), greedy(50));
  auto params = sampled(50);
  params.n = 2;
  const auto b = h.submit(prompt_of(5), params);
  h.run_until_idle();
  for (const auto& key : {testing::ChoiceKey{a, 0}, {b, 0}, {b, 1}}) {
    EXPECT_EQ(h.recorder->heard[key].finish, FinishReason::kError);
    EXPECT_THAT(h.recorder->heard[key].error, HasSubstr("planted failure"));
  }
  EXPECT_FALSE(h.loop.stats().healthy);
  EXPECT_EQ(h.loop.stats().blocks_used, 0);
  const auto late = h.submit(prompt_of(3), greedy(5));
  EXPECT_EQ(h.heard(late).finish, FinishReason::kError);
}

TEST(Loop, cancelling_frees_blocks_at_once_and_silences_the_choice) {
  Harness h;
  auto params = sampled(50);
  params.n = 2;
  const auto id = h.submit(prompt_of(12), params);
  const auto waiting = h.submit(prompt_of(12, 9), greedy(5));
  for (int i = 0; i < 4; ++i) h.loop.step();
  h.loop.cancel(id, 1);
  const auto silent = h.heard(id, 1).tokens.size();
  h.loop.step();
  EXPECT_EQ(h.heard(id, 1).tokens.size(), silent);
  EXPECT_EQ(h.heard(id, 1).finish, FinishReason::kNone);
  h.loop.cancel(id, -1);
  h.loop.cancel(id, -1);
  h.loop.cancel(12345, -1);
  h.loop.cancel(waiting, -1);
  EXPECT_EQ(h.loop.stats().blocks_used, 0);
  EXPECT_TRUE(h.loop.idle());
  EXPECT_EQ(h.admission.waiting(), 0);
}

TEST(Loop, cancelling_the_first_choice_lets_the_others_run) {
  Harness h;
  auto params = sampled(4);
  params.n = 2;
  const auto id = h.submit(prompt_of(12), params);
  h.loop.cancel(id, 0);
  h.run_until_idle();
  EXPECT_EQ(h.heard(id, 1).tokens.size(), 4u);
}

TEST(Loop, groups_a_steps_messages_by_subscriber) {
  Harness h;
  h.submit(prompt_of(4), greedy(3));
  h.submit(prompt_of(5), greedy(3));
  h.run_until_idle();
  EXPECT_EQ(h.recorder->calls, 3);
}

TEST(Loop, many_random_requests_and_cancellations_leak_nothing) {
  Harness h({.limits = {.max_batched_tokens = 24, .max_sequences = 6}, .blocks = 40});
  std::mt19937 random(99);
  std::vector<RequestId> ids;
  for (int step = 0; step < 3000; ++step) {
    if (random() % 4 == 0) {
      auto params = sampled(1 + static_cast<int>(random() % 40), std::nullopt);
      params.n = 1 + static_cast<int>(random() % 3);
      if (random() % 5 == 0) params.prompt_logprobs = 1;
      auto message = h.message(prompt_of(1 + static_cast<int>(random() % 60), random() % 4), params);
      if (random() % 6 == 0) message.deadline = h.clock.now() + std::chrono::milliseconds(20);
      if (auto id = h.submit(std::move(message)); id.ok()) ids.push_back(id.value());
    }
    if (!ids.empty() && random() % 5 == 0) {
      h.loop.cancel(ids[random() % ids.size()], static_cast<int>(random() % 4) - 1);
    }
    h.clock.advance(std::chrono::milliseconds(1));
    h.loop.step();
  }
  h.run_until_idle();
  EXPECT_EQ(h.loop.stats().blocks_used, 0);
  EXPECT_EQ(h.admission.waiting(), 0);
  EXPECT_GT(h.metrics.preemptions.value(), 0);
}

TEST(Admission, refuses_with_the_number_that_would_fit) {
  Harness h({.blocks = 8, .max_model_len = 1000, .max_logprobs = 3});
  const auto refusal = [&](std::vector<std::int32_t> prompt, SamplingParams params) {
    const auto result = h.submit(h.message(std::move(prompt), std::move(params)));
    EXPECT_FALSE(result.ok());
    return result.ok() ? "" : result.error().message;
  };
  EXPECT_THAT(refusal(prompt_of(40), greedy(1)), HasSubstr("at most 31 fit"));
  EXPECT_THAT(refusal(prompt_of(30), greedy(3)), HasSubstr("max_tokens can be at most 2"));
  EXPECT_THAT(refusal({}, greedy(3)), HasSubstr("no tokens"));
  EXPECT_THAT(refusal({64}, greedy(3)), HasSubstr("ids go from 0 to 63"));
  auto params = greedy(3);
  params.logprobs = 4;
  EXPECT_THAT(refusal({1}, params), HasSubstr("at most 3"));
  params.logprobs = -1;
  EXPECT_THAT(refusal({1}, params), HasSubstr("at most 3"));
  params = greedy(3);
  params.structured.kind = protocol::StructuredOutput::Kind::kJsonObject;
  EXPECT_THAT(refusal({1}, params), HasSubstr("without one"));
  EXPECT_EQ(h.admission.waiting(), 0);
}

TEST(CacheSize, follows_override_then_bytes_then_what_is_useful_and_affordable) {
  const kv::Layout layout{10, 100, DType::kBF16};  // 2000 bytes a token, 32000 a block
  Settings settings;
  settings.scheduler.max_num_seqs = 4;
  EXPECT_EQ(cache_blocks(settings, layout, 1000, 1 << 30), 4 * 63);
  EXPECT_EQ(cache_blocks(settings, layout, 1000, 640000), 10) << "half of what is free";
  settings.cache.kv_cache_memory_bytes = 100000;
  EXPECT_EQ(cache_blocks(settings, layout, 1000, 1 << 30), 3);
  EXPECT_THAT(check_cache(settings, layout, 1000, 1 << 30).error().message,
              HasSubstr("--max-model-len to at most 48"));
  EXPECT_TRUE(check_cache(settings, layout, 48, 1 << 30).ok());
  settings.cache.num_blocks_override = 7;
  EXPECT_EQ(cache_blocks(settings, layout, 1000, 1 << 30), 7);
  EXPECT_THAT(check_cache(settings, layout, 16, 1000).error().message, HasSubstr("but only 1000 can be taken here"));
}

TEST(CacheSize, memory_for_what_the_cache_has_no_room_for_is_beside_it) {
  const kv::Layout layout{10, 100, DType::kBF16};  // 32000 bytes a block
  Settings settings;
  EXPECT_EQ(host_tier_memory(settings, layout, 10, 1 << 30)->size(), 0u);
  settings.cache.kv_offloading_size = 0.25;
  EXPECT_EQ(host_tier_memory(settings, layout, 10, 1 << 30)->size(), 1u << 28);
  EXPECT_THAT(host_tier_memory(settings, layout, 30000, 1 << 30).error().message, HasSubstr("113741824 bytes are left for it"));
  settings.cache.kv_offloading_size = 1e-5;
  EXPECT_THAT(host_tier_memory(settings, layout, 10, 1 << 30).error().message, HasSubstr("a block takes 32000"));
  settings.cache.enable_prefix_caching = false;
  EXPECT_THAT(host_tier_memory(settings, layout, 10, 1 << 30).error().message, HasSubstr("--no-enable-prefix-caching"));
}

}  // namespace
}  // namespace braid::engine
