// SPDX-License-Identifier: Apache-2.0
// A prompt computed by one engine and continued by another, step by step.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <random>
#include <thread>
#include <tuple>

#include "base/check.h"
#include "engine/speculation/mtp_drafter.h"
#include "engine/testing/harness.h"
#include "transport/shm/shm.h"

namespace braid::engine {
namespace {

using ::testing::HasSubstr;
using protocol::FinishReason;
using testing::FakeModel;
using testing::Harness;
using testing::HarnessOptions;
using testing::prompt_of;

constexpr const char* kHold = R"({"do_remote_decode":true,"do_remote_prefill":false})";
constexpr const char* kEarly = R"({"do_remote_decode":true,"do_remote_prefill":false,"early":true})";

protocol::SamplingParams greedy(int max_tokens) {
  protocol::SamplingParams params;
  params.temperature = 0;
  params.max_tokens = max_tokens;
  params.ignore_eos = true;
  return params;
}

struct Kind {
  int block_size = 4;
  std::int32_t blocks = 64;
  std::string policy = "fail";
  bool draft_module = false;
  int window = 0;
  bool prefix_caching = true;
  double lease_seconds = 60;
  std::int32_t step = 64;  // tokens
};

std::unique_ptr<transfer::Node> node_of(const Kind& kind) {
  transfer::Settings s;
  s.kv_role = "kv_both";
  s.kv_port = 0;
  s.kv_load_failure_policy = kind.policy;
  s.kv_connector_extra_config.text = "{\"kv_lease_duration\":" + std::to_string(kind.lease_seconds) + "}";
  auto node = transfer::Node::open(s, transport::shm::transport({}), 0, "fake").value();
  CHECK(node->share(FakeModel({.draft_module = kind.draft_module, .window = kind.window}).cache_layout().grouped(), kind.blocks, kind.block_size).ok());
  return node;
}

HarnessOptions options_of(const Kind& kind, transfer::Node* node) {
  HarnessOptions o;
  o.model.draft_module = kind.draft_module;
  o.model.window = kind.window;
  o.blocks = kind.blocks;
  o.block_size = kind.block_size;
  o.limits.prefix_caching = kind.prefix_caching;
  o.limits.max_batched_tokens = kind.step;
  o.node = node;
  if (kind.draft_module) {
    o.limits.max_drafts = 2;
    o.drafter = [](FakeModel& model, kv::Cache& cache) { return std::make_unique<MtpDrafter>(model.draft_module(), &cache); };
  }
  return o;
}

struct Side {
  explicit Side(const Kind& kind = {}) : node(node_of(kind)), harness(std::make_unique<Harness>(options_of(kind, node.get()))) {}
  Harness* operator->() const { return harness.get(); }

  RequestId submit(const std::vector<std::int32_t>& prompt, int max_tokens, const std::string& transfer = {}) const {
    SubmitMessage m = harness->message(prompt, greedy(max_tokens));
    m.kv_transfer_params = transfer;
    return harness->submit(std::move(m)).value();
  }
  // Until every request has ended; other engines take their time.
  void run() const { run_while([this] { return !harness->loop.idle(); }); }
  void run_while(const std::function<bool()>& busy) const {
    const TimePoint deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (busy() && std::chrono::steady_clock::now() < deadline) {
      if (harness->loop.idle()) harness->loop.exchange();
      else if (!harness->loop.step()) std::this_thread::yield();
    }
  }
  // Until every request and every hold of its own has ended.
  void settle() const {
    run_while([this] { return !harness->loop.idle() || harness->loop.exchanging() > 0; });
    EXPECT_TRUE(harness->loop.idle());
    EXPECT_EQ(harness->loop.exchanging(), 0u);
    EXPECT_EQ(harness->loop.pool().used(), 0);
    EXPECT_EQ(harness->metrics.kv_blocks_used.value(), 0);
  }
  std::string prefill(const std::vector<std::int32_t>& prompt) const {
    const RequestId id = submit(prompt, 1, kHold);
    harness->run_until_idle();
    EXPECT_EQ(harness->heard(id).finish, FinishReason::kLength);
    EXPECT_GT(harness->loop.pool().used(), 0) << "its blocks are held";
    return harness->recorder->transfer[id];
  }

  // Until the choice's blocks are promised, which is with its first step.
  std::string promise(RequestId id) const {
    harness->loop.step();
    return harness->recorder->transfer[id];
  }

  std::unique_ptr<transfer::Node> node;
  std::unique_ptr<Harness> harness;
};

// Both, until a request of the second has ended.
void run(const Side& prefill, const Side& decode, RequestId id) {
  decode.run_while([&] {
    if (!prefill->loop.step()) prefill->loop.exchange();
    return decode->heard(id).finish == FinishReason::kNone;
  });
}

std::vector<std::int32_t> alone(const std::vector<std::int32_t>& prompt, int max_tokens, const Kind& kind = {}) {
  Harness h(options_of(kind, nullptr));
  const RequestId id = h.submit(prompt, greedy(max_tokens));
  h.run_until_idle();
  return h.heard(id).tokens;
}

TEST(Handover, text_is_that_of_one_engine_whatever_the_block_sizes) {
  for (const bool caching : {true, false}) {
    for (const auto& [theirs, ours] : std::vector<std::pair<int, int>>{{4, 4}, {2, 8}, {8, 2}, {16, 3}}) {
      Side prefill({.block_size = theirs, .prefix_caching = caching}), decode({.block_size = ours, .prefix_caching = caching});
      for (const int length : {2, 4, 5, 16, 37}) {
        const auto prompt = prompt_of(length, length);
        const RequestId id = decode.submit(prompt, 20, prefill.prefill(prompt));
        decode.run();
        EXPECT_EQ(decode->heard(id).tokens, alone(prompt, 20)) << theirs << " " << ours << " " << length;
        EXPECT_EQ(decode->heard(id).cached_tokens, length);
      }
      EXPECT_GT(decode->metrics.prompt_tokens_by_source.with({"external_kv_transfer"}).value(), 0);
      EXPECT_EQ(decode->metrics.prompt_tokens_by_source.with({"local_compute"}).value(), 0) << "the first token comes along";
      decode.settle();
      prefill.settle();
    }
  }
}

TEST(Handover, of_a_window_only_what_is_seen_comes_along) {
  for (const auto& [theirs, ours] : std::vector<std::pair<int, int>>{{4, 4}, {2, 8}, {8, 2}, {16, 3}}) {
    const Kind kind{.blocks = 256, .draft_module = true, .window = 6};
    Kind p = kind, d = kind;
    p.block_size = theirs;
    d.block_size = ours;
    Side prefill(p), decode(d);
    for (const int length : {2, 5, 16, 37, 61}) {
      const auto prompt = prompt_of(length, length);
      const RequestId id = decode.submit(prompt, 20, prefill.prefill(prompt));
      decode.run();
      EXPECT_EQ(decode->heard(id).tokens, alone(prompt, 20, kind)) << theirs << " " << ours << " " << length;
      EXPECT_EQ(decode->heard(id).cached_tokens, length - 1);
    }
    EXPECT_EQ(decode->metrics.prompt_tokens_by_source.with({"local_compute"}).value(), 5);
    decode.settle();
    prefill.settle();
  }
}

TEST(Handover, a_window_is_read_without_a_draft_module_too) {
  const Kind kind{.blocks = 256, .window = 6};
  Side prefill(kind), decode(kind);
  for (const int length : {1, 4, 7, 8, 16, 37, 61}) {
    const auto prompt = prompt_of(length, length);
    const RequestId id = decode.submit(prompt, 20, prefill.prefill(prompt));
    decode.run();
    EXPECT_EQ(decode->heard(id).tokens, alone(prompt, 20, kind)) << length;
    EXPECT_EQ(decode->heard(id).cached_tokens, length);
  }
  decode.settle();
  prefill.settle();
}

TEST(Handover, a_prompt_is_read_while_it_is_computed) {
  const std::pair<int, int> sizes[] = {{4, 4}, {2, 8}, {8, 3}};
  for (unsigned i = 0; i < 8; ++i) {
    const bool module = (i & 1) != 0;
    const Kind kind{.blocks = 256, .draft_module = module, .window = (i & 2) != 0 ? 6 : 0, .prefix_caching = (i & 4) != 0, .step = 7};
    Kind p = kind, d = kind;
    std::tie(p.block_size, d.block_size) = sizes[i % 3];
    Side prefill(p), decode(d);
    for (const int length : {1, 5, 16, 37, 61}) {
      const auto prompt = prompt_of(length, length);
      const RequestId theirs = prefill.submit(prompt, 1, kEarly);
      const RequestId id = decode.submit(prompt, 20, prefill.promise(theirs));
      run(prefill, decode, id);
      EXPECT_EQ(decode->heard(id).tokens, alone(prompt, 20, kind)) << i << " " << length;
      EXPECT_EQ(decode->heard(id).cached_tokens, module ? length - 1 : length);
    }
    EXPECT_EQ(decode->metrics.kv_failed_transfers.value(), 0);
    decode.settle();
    prefill.settle();
    EXPECT_EQ(prefill->metrics.kv_expired_holds.value(), 0);
  }
}

TEST(Handover, whoever_asks_early_is_told_of_what_is_cached) {
  Side prefill({.step = 8});
  prefill.submit(prompt_of(20), 1);
  prefill.run();
  const std::string params = prefill.promise(prefill.submit(prompt_of(40), 1, kEarly));
  EXPECT_THAT(params, HasSubstr("\"remote_cached_tokens\":20"));
  EXPECT_THAT(params, HasSubstr("\"remote_num_tokens\":40"));
  prefill.run();
  prefill->clock.advance(std::chrono::minutes(2));
  prefill.settle();
}

TEST(Handover, a_prompt_that_is_no_longer_computed_fails_who_reads_it) {
  Side prefill({.step = 8}), decode;
  const RequestId theirs = prefill.submit(prompt_of(40), 1, kEarly);
  const RequestId id = decode.submit(prompt_of(40), 5, prefill.promise(theirs));
  decode.run_while([&] { return decode->loop.pool().used() == 0; });  // it reads
  prefill->loop.cancel(theirs, -1);
  decode.settle();
  EXPECT_EQ(decode->heard(id).finish, FinishReason::kError);
  EXPECT_THAT(decode->heard(id).error, HasSubstr("no longer"));
  prefill.settle();
}

TEST(Handover, who_does_not_want_it_ends_what_is_promised) {
  Side prefill({.step = 8}), decode;
  const RequestId theirs = prefill.submit(prompt_of(40), 1, kEarly);
  const RequestId id = decode.submit(prompt_of(40), 5, prefill.promise(theirs));
  decode.run_while([&] { return decode->loop.pool().used() == 0; });
  decode->loop.cancel(id, -1);
  prefill.settle();
  EXPECT_EQ(prefill->heard(theirs).finish, FinishReason::kLength);
  decode.settle();
}

TEST(Handover, the_last_token_is_computed_here_where_the_first_turns_out_to_be_an_end) {
  const auto prompt = prompt_of(37);
  Side prefill({.step = 8}), decode;
  const RequestId theirs = prefill.submit(prompt, 1, kEarly);
  SubmitMessage m = decode->message(prompt, greedy(5));
  m.kv_transfer_params = prefill.promise(theirs);
  m.params.stop_token_ids = {alone(prompt, 1)[0]};
  const RequestId id = decode->submit(std::move(m)).value();
  run(prefill, decode, id);
  EXPECT_EQ(decode->heard(id).finish, FinishReason::kStop);
  EXPECT_EQ(decode->heard(id).tokens, alone(prompt, 1));
  decode.settle();
  prefill.settle();
}

TEST(Handover, a_prompt_of_one_token_and_an_answer_of_one_are_handed_over_too) {
  Side prefill, decode;
  for (const int tokens : {1, 5}) {
    const RequestId id = decode.submit(prompt_of(1), tokens, prefill.prefill(prompt_of(1)));
    decode.run();
    EXPECT_EQ(decode->heard(id).tokens, alone(prompt_of(1), tokens));
    EXPECT_EQ(decode->heard(id).finish, FinishReason::kLength);
  }
  decode.settle();
  prefill.settle();
}

TEST(Handover, the_first_token_is_chosen_here_where_its_probability_is_asked_for_or_it_may_be_the_end) {
  const auto prompt = prompt_of(10);
  const std::int32_t first = alone(prompt, 1)[0];
  for (const bool logprobs : {true, false}) {
    Side prefill, decode;
    SubmitMessage m = decode->message(prompt, greedy(5));
    m.kv_transfer_params = prefill.prefill(prompt);
    if (logprobs) m.params.logprobs = 1;
    else m.params.stop_token_ids = {first};
    const RequestId id = decode->submit(std::move(m)).value();
    decode.run();
    EXPECT_EQ(decode->metrics.prompt_tokens_by_source.with({"local_compute"}).value(), 1);
    EXPECT_EQ(decode->heard(id).logprobs.size(), logprobs ? 5u : 0u);
    EXPECT_EQ(decode->heard(id).finish, logprobs ? FinishReason::kLength : FinishReason::kStop);
    decode.settle();
    prefill.settle();
  }
}

TEST(Handover, of_what_this_cache_has_only_the_end_is_read) {
  Side prefill, decode;
  const auto prompt = prompt_of(17);
  decode.submit(prompt, 3);
  decode.run();
  const RequestId id = decode.submit(prompt, 20, prefill.prefill(prompt));
  decode.run();
  EXPECT_EQ(decode->heard(id).tokens, alone(prompt, 20));
  EXPECT_EQ(decode->metrics.prompt_tokens_by_source.with({"external_kv_transfer"}).value(), 1);
  prefill.settle();
}

TEST(Handover, the_draft_modules_rows_come_along) {
  const Kind kind{.draft_module = true};
  Side prefill(kind), decode(kind);
  const auto prompt = prompt_of(21);
  const RequestId id = decode.submit(prompt, 24, prefill.prefill(prompt));
  decode.run();
  EXPECT_EQ(decode->heard(id).tokens, alone(prompt, 24));
  EXPECT_GT(decode->metrics.spec_decode_draft_tokens.value(), 10);
  EXPECT_GT(decode->metrics.spec_decode_accepted_tokens.value(), decode->metrics.spec_decode_draft_tokens.value() * 0.8)
      << "without the rows of the prompt the module would guess wildly";
  decode.settle();
  prefill.settle();
}

TEST(Handover, a_hold_that_nobody_reads_ends_with_its_lease) {
  Side prefill;
  const std::string params = prefill.prefill(prompt_of(16));
  prefill->clock.advance(std::chrono::seconds(59));
  prefill->loop.exchange();
  EXPECT_EQ(prefill->loop.pool().used(), 4);
  prefill->clock.advance(std::chrono::seconds(2));
  prefill->loop.exchange();
  EXPECT_EQ(prefill->loop.pool().used(), 0);
  EXPECT_EQ(prefill->metrics.kv_blocks_used.value(), 0);
  EXPECT_EQ(prefill->metrics.kv_expired_holds.value(), 1);
  Side decode;
  const RequestId id = decode.submit(prompt_of(16), 5, params);
  decode.settle();
  EXPECT_EQ(decode->heard(id).finish, FinishReason::kError);
  EXPECT_THAT(decode->heard(id).error, HasSubstr("no longer held"));
  EXPECT_EQ(decode->metrics.kv_failed_transfers.value(), 1);
}

TEST(Handover, a_prompt_that_cannot_be_read_is_computed_where_that_is_wanted) {
  Side decode({.policy = "recompute"});
  const auto prompt = prompt_of(16);
  std::string params;
  {
    Side prefill;
    params = prefill.prefill(prompt);
  }
  const RequestId id = decode.submit(prompt, 20, params);
  decode.settle();
  EXPECT_EQ(decode->heard(id).tokens, alone(prompt, 20));
  EXPECT_EQ(decode->heard(id).cached_tokens, 0);
}

TEST(Handover, a_choice_that_fails_does_not_hold) {
  Side prefill;
  const RequestId id = prefill.submit(prompt_of(30), 1, kHold);
  prefill->loop.cancel(id, -1);
  prefill.settle();
  EXPECT_EQ(prefill->recorder->transfer.count(id), 0u);
}

TEST(Handover, fields_that_are_wrong_are_refused) {
  Side engine;
  SubmitMessage m = engine->message(prompt_of(4), greedy(1));
  m.kv_transfer_params = R"({"do_remote_decode":1})";
  EXPECT_EQ(engine->submit(std::move(m)).error().param, "kv_transfer_params");
}

// Requests of which some are cancelled at any point, more than the caches hold at once; with a decoder
// that is replaced now and then.
class AnyEnd : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Handover, AnyEnd, ::testing::Values(kHold, kEarly));

TEST_P(AnyEnd, nothing_leaks_and_no_token_is_wrong_whatever_ends_when) {
  const bool early = GetParam() == std::string(kEarly);
  std::mt19937 random(11);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  const Kind kind{.blocks = 20, .policy = "recompute", .step = early ? 6 : 64};
  Side prefill(kind);
  auto decode = std::make_unique<Side>(Kind{.block_size = 2, .blocks = 36, .policy = "recompute"});
  std::map<RequestId, std::vector<std::int32_t>> prefilling;
  std::map<RequestId, std::vector<std::int32_t>> decoding;
  std::vector<RequestId> computing;  // what is read meanwhile
  int right = 0;
  const TimePoint deadline = std::chrono::steady_clock::now() + std::chrono::seconds(100);
  for (int round = 0; round < 3000 || (right < 60 && std::chrono::steady_clock::now() < deadline); ++round) {
    if (below(4) == 0 && prefilling.size() < 6) {
      const int kind = below(12);  // none begins like another and its answer
      const auto prompt = prompt_of(1 + kind * 7 % 31, kind * 5);
      prefilling[prefill.submit(prompt, 1, GetParam())] = prompt;
    }
    if (early && below(60) == 0) prefill.submit(prompt_of(9, below(60)), 25);  // preempts others
    if (early && below(60) == 0 && !computing.empty()) prefill->loop.cancel(computing[random() % computing.size()], -1);
    if (prefill->loop.idle()) prefill->loop.exchange();
    else prefill->loop.step();
    if (!(*decode)->loop.step()) std::this_thread::yield();
    for (auto it = prefilling.begin(); it != prefilling.end();) {
      const auto told = prefill->recorder->transfer.find(it->first);
      if (told != prefill->recorder->transfer.end()) {
        if (early) computing.push_back(it->first);
        if (below(8) > 0) decoding[decode->submit(it->second, 1 + below(25), told->second)] = it->second;
        else prefill->clock.advance(std::chrono::seconds(30));  // its client is gone
      } else if (below(20) == 0) {
        prefill->loop.cancel(it->first, -1);
      } else {
        ++it;
        continue;
      }
      it = prefilling.erase(it);
    }
    for (auto it = decoding.begin(); it != decoding.end();) {
      const auto& heard = (*decode)->heard(it->first);
      if (heard.finish == FinishReason::kLength) {
        auto expected = alone(it->second, static_cast<int>(heard.tokens.size()));
        ASSERT_EQ(heard.tokens, expected);
        ++right;
      } else if (below(25) == 0) {
        (*decode)->loop.cancel(it->first, -1);
      } else {
        ASSERT_NE(heard.finish, FinishReason::kError) << heard.error;
        ++it;
        continue;
      }
      it = decoding.erase(it);
    }
    if (below(400) == 0) {
      decoding.clear();
      decode.reset();
      prefill->clock.advance(std::chrono::minutes(2));  // ends the leases of what it had not yet taken
      decode = std::make_unique<Side>(Kind{.block_size = 2, .blocks = 36, .policy = "recompute"});
    }
  }
  EXPECT_GE(right, 60);
  EXPECT_EQ(prefill->metrics.preemptions.value() > 0, early);
  prefill.run_while([&] {  // each may wait for the other, and for leases
    prefill->clock.advance(std::chrono::milliseconds(10));
    if (!(*decode)->loop.step()) (*decode)->loop.exchange();
    return !prefill->loop.idle() || !(*decode)->loop.idle();
  });
  decode->settle();
  prefill->clock.advance(std::chrono::minutes(2));
  prefill.settle();
}

}  // namespace
}  // namespace braid::engine
