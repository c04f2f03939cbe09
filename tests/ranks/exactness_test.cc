// SPDX-License-Identifier: Apache-2.0
// Whole engines on ranks: whatever the number of ranks, what carries the tokens, experts that move,
// micro-batches, drafted tokens and reused blocks, greedy text is that of one engine alone, and with
// `deterministic` every logprob bit for bit (unless blocks are reused: those of an answer were computed
// token by token, those of a prompt together).
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "backend/cpu/backend.h"
#include "engine/engine.h"
#include "engine/lockstep.h"
#include "engine/testing/listener.h"
#include "fabric/testing/local_bootstrap.h"
#include "model/model.h"
#include "moe/expert_parallel.h"
#include "moe/placement/rebalance.h"
#include "tests/ranks/local_membership.h"
#include "tests/ranks/rotated.h"
#include "transport/shm/shm.h"
#include "weights/checkpoint.h"

namespace braid {
namespace {

using engine::testing::Listener;
using moe::All2All;
using Prompt = std::vector<std::int32_t>;

constexpr Duration kLong = std::chrono::seconds(60);
constexpr int kTokens = 40, kLength = 256;

struct Case {
  int ranks;
  All2All backend;
  bool deterministic, moves, overlap, prefix;
  int drafts;
};

engine::Settings settings_of(const Case& c) {
  engine::Settings s;
  s.scheduler.max_model_len = kLength;
  s.scheduler.max_num_seqs = 8;
  s.scheduler.max_num_batched_tokens = 48;
  s.cache.num_blocks_override = 120;
  s.cache.enable_prefix_caching = c.prefix;
  s.overlap = {.enable_dbo = c.overlap, .decode_token_threshold = 2, .prefill_token_threshold = 2};
  if (c.drafts > 0) s.speculation = {.method = "mtp", .num_speculative_tokens = c.drafts, .disable_by_batch_size = 100};
  return s;
}

// An engine over lexicon-30m; with `experts` one rank of several, which step by `lockstep`.
struct Node {
  std::unique_ptr<cpu::Stream> stream = cpu::make_stream({.threads = 1});
  std::unique_ptr<weights::Checkpoint> checkpoint = weights::open_checkpoint(BRAID_SOURCE_DIR "/models/lexicon-30m").value();
  engine::Metrics metrics;
  SteadyClock clock;
  std::shared_ptr<Listener> listener = std::make_shared<Listener>();
  std::vector<engine::RequestId> ids;
  std::unique_ptr<engine::Engine> engine;

  std::unique_ptr<model::Model> model(const Case& c, const moe::ExpertParallel* experts) {
    const engine::Settings s = settings_of(c);
    auto built = model::build(*checkpoint, {.max_model_len = kLength,
                                            .max_batched_tokens = s.scheduler.max_num_batched_tokens,
                                            .max_sequences = s.scheduler.max_num_seqs * (1 + c.drafts),
                                            .experts = experts,
                                            .two_micro_batches = c.overlap && experts != nullptr,
                                            .draft_module = c.drafts > 0}, {&cpu::kernels(), stream.get(), {}});
    EXPECT_TRUE(built.ok()) << built.error().message;
    return std::move(built).value();
  }
  void start(const Case& c, std::unique_ptr<model::Model> model, engine::Lockstep* lockstep = nullptr, moe::Rebalancer* rebalancer = nullptr) {
    engine = engine::start(std::move(model), engine::Vocabulary{4096, {1}, nullptr, {}}, settings_of(c), metrics, clock, {lockstep, rebalancer}).value();
  }
  void submit(const Prompt& prompt) {
    engine::SubmitMessage m;
    m.prompt = prompt;
    m.params.temperature = 0;
    m.params.logprobs = 0;
    m.params.max_tokens = kTokens;
    m.subscriber = listener;
    ids.push_back(engine->submit(engine->admit(std::move(m)).value()).value());
  }
  // To what was submitted, in that order.
  std::vector<Listener::Answer> answers() {
    EXPECT_TRUE(listener->wait_for(ids.size()));
    const auto heard = listener->answers();
    std::vector<Listener::Answer> all;
    for (const auto id : ids) all.push_back(heard.at(id));
    return all;
  }
};

constexpr Case kAlone{1, All2All::kAuto, false, false, false, false, 0};

std::vector<Listener::Answer> answers_alone(const std::vector<Prompt>& prompts) {
  Node node;
  node.start(kAlone, node.model(kAlone, nullptr));
  for (const Prompt& prompt : prompts) node.submit(prompt);
  return node.answers();
}

// Questions in the chat template, and questions that follow an answer: longer than some blocks.
const std::vector<Prompt>& prompts() {
  static const auto all = [] {
    const std::vector<Prompt> questions = {
        {0, 3, 336, 322, 261, 2315, 35, 4}, {0, 3, 336, 322, 261, 1814, 1752, 35, 4}, {0, 3, 336, 322, 261, 812, 35, 4}};
    const auto first = answers_alone(questions);
    std::vector<Prompt> prompts = questions;
    for (std::size_t i = 0; i < questions.size(); ++i) {
      const Prompt& next = questions[(i + 1) % questions.size()];
      Prompt longer = questions[i];
      longer.insert(longer.end(), first[i].tokens.begin(), first[i].tokens.end());
      longer.insert(longer.end(), next.begin() + 1, next.end());
      prompts.push_back(std::move(longer));
    }
    return prompts;
  }();
  return all;
}

const std::vector<Listener::Answer>& expected() {
  static const auto answers = answers_alone(prompts());
  return answers;
}

constexpr int kMostWaves = 200;

struct Moves final : moe::RebalanceObserver {
  void rearranged(int layers, std::uint64_t, Duration) override { count += layers; }
  void stopped(const Error& error) override { ADD_FAILURE() << error.message; }
  std::atomic<int> count{0};
};

// Every prompt twice, one wave after the other, and again until experts have moved on every rank.
void run_rank(const Case& c, fabric::Bootstrap& b) {
  const auto transport = transport::shm::transport({.spin = Duration::zero()});
  const auto second = transport::shm::transport({.spin = Duration::zero()});
  const moe::ExpertParallel experts{.bootstrap = &b, .transport = transport.get(), .backend = c.backend, .buffer_tokens = 20,
                                    .deterministic = c.deterministic, .redundant_experts = c.moves ? c.ranks : 0};
  Node node;
  auto model = node.model(c, &experts);
  Moves moves;
  moe::Rebalancer rebalancer(*second, model->mixtures(), *node.stream, {.window = 4, .interval = 4, .timeout = kLong, .policy = testing::rotated}, moves);
  engine::testing::LocalMembership membership;
  engine::Lockstep lockstep(membership, *transport, kLong, [&, model = model.get()](fabric::Bootstrap& group) -> Status {
    RETURN_IF_ERROR(model->regroup(experts));
    return c.moves ? rebalancer.join(group) : Status::success();
  });
  membership.announce(b);
  node.start(c, std::move(model), &lockstep, c.moves ? &rebalancer : nullptr);
  membership.wait_for_group();
  std::vector<std::size_t> mine;
  bool moved = !c.moves;
  for (int wave = 0; wave < 2 || (!moved && wave < kMostWaves); ++wave) {
    for (std::size_t i = 0; i < prompts().size(); ++i) {
      if (i % static_cast<std::size_t>(c.ranks) != static_cast<std::size_t>(b.rank())) continue;
      mine.push_back(i);
      node.submit(prompts()[i]);
    }
    node.answers();
    const auto ends = b.all_gather(moves.count > 0 ? "moved" : "");
    ASSERT_TRUE(ends.ok()) << ends.error().message;
    moved = !c.moves || std::ranges::all_of(*ends, [](const std::string& end) { return end == "moved"; });
  }
  const auto heard = node.answers();
  for (std::size_t i = 0; i < mine.size(); ++i) {
    const auto& wanted = expected()[mine[i]];
    EXPECT_EQ(heard[i].tokens, wanted.tokens) << "prompt " << mine[i];
    if (c.deterministic && !c.prefix) {
      EXPECT_EQ(heard[i].logprobs, wanted.logprobs) << "prompt " << mine[i];
    }
  }
  const bool long_prompt = !mine.empty() && mine.back() >= prompts().size() / 2;
  EXPECT_EQ(node.metrics.prefix_cache_hits.value() > 0, c.prefix && long_prompt);
  EXPECT_EQ(moves.count > 0, c.moves);
  EXPECT_EQ(node.metrics.spec_decode_accepted_tokens.value() > 0, c.drafts > 0 && !mine.empty());
  EXPECT_TRUE(c.overlap || node.metrics.dbo_steps.value() == 0);
  EXPECT_TRUE(node.engine->stats().healthy) << node.engine->stats().failure;
  ASSERT_TRUE(b.all_gather("done").ok());
  node.engine.reset();
  ASSERT_TRUE(b.all_gather("ended").ok());
}

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  return std::to_string(c.ranks) + "_" + std::string(moe::name_of(c.backend)) + (c.deterministic ? "_deterministic" : "") +
         (c.moves ? "_moves" : "") + (c.overlap ? "_overlap" : "") + (c.prefix ? "_prefix" : "") +
         (c.drafts > 0 ? "_drafts" + std::to_string(c.drafts) : "");
}

constexpr All2All kBackends[] = {All2All::kLowLatency, All2All::kHighThroughput, All2All::kFlexible, All2All::kAllGatherReduceScatter};

std::vector<Case> every_case() {
  std::vector<Case> all;
  for (const int ranks : {1, 2, 3, 4, 8}) {
    for (const All2All backend : kBackends) {
      for (int bits = 0; bits < 32; ++bits) {
        all.push_back({ranks, backend, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0, (bits & 16) != 0 ? 2 : 0});
      }
    }
  }
  return all;
}

// So few that every two values of two properties meet in one of them.
std::vector<Case> pairs_of_values() {
  using enum All2All;
  return {
      {1, kLowLatency, false, false, true, false, 1},
      {1, kHighThroughput, false, true, true, false, 0},
      {1, kFlexible, true, false, true, true, 3},
      {1, kAllGatherReduceScatter, false, true, false, true, 1},
      {2, kLowLatency, true, false, false, true, 0},
      {2, kHighThroughput, false, false, true, false, 0},
      {2, kFlexible, false, true, false, false, 3},
      {2, kAllGatherReduceScatter, true, true, true, false, 1},
      {3, kLowLatency, false, false, true, true, 0},
      {3, kHighThroughput, false, false, false, false, 1},
      {3, kFlexible, false, false, true, false, 1},
      {3, kAllGatherReduceScatter, true, true, true, true, 3},
      {4, kLowLatency, false, false, false, false, 1},
      {4, kHighThroughput, true, false, false, true, 3},
      {4, kFlexible, true, true, true, false, 1},
      {4, kAllGatherReduceScatter, false, true, true, true, 0},
      {8, kLowLatency, true, true, true, false, 3},
      {8, kHighThroughput, true, true, false, false, 0},
      {8, kFlexible, false, true, false, true, 0},
      {8, kAllGatherReduceScatter, true, false, true, true, 1}};
}

class Exactness : public ::testing::TestWithParam<Case> {};
TEST_P(Exactness, TextIsThatOfOneEngineAlone) {
  expected();
  fabric::testing::run_ranks(GetParam().ranks, [](fabric::Bootstrap& b) { run_rank(GetParam(), b); });
}
INSTANTIATE_TEST_SUITE_P(Pairs, Exactness, ::testing::ValuesIn(pairs_of_values()), name_of);
INSTANTIATE_TEST_SUITE_P(Every, Exactness, ::testing::ValuesIn(every_case()), name_of);

}  // namespace
}  // namespace braid
