// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "engine/remote/control_membership.h"
#include "engine/remote/group_leader.h"
#include "engine/remote/remote_engine.h"
#include "engine/remote/wire.h"
#include "engine/testing/fake_model.h"

namespace braid::engine {
namespace {

using protocol::FinishReason;
using ::testing::HasSubstr;
constexpr Duration kLong = std::chrono::seconds(60);

TimePoint in(Duration d) { return std::chrono::steady_clock::now() + d; }

TokenMessage sample_message() {
  TokenMessage m;
  m.request = 77;
  m.index = 2;
  m.tokens = {5, 6};
  m.logprobs = {{{5, -0.5f, 1}, {9, -1.5f, 2}}, {}};
  m.prompt_logprobs = {std::nullopt, PositionLogprobs{{1, -2.0f, 3}}};
  m.finish = FinishReason::kStop;
  m.error = {ErrorCode::kResourceExhausted, "full", "n"};
  m.stop_token = 6;
  m.cached_tokens = 16;
  return m;
}

TEST(Wire, MessagesComeBackAsTheyWere) {
  TokenMessage back;
  ASSERT_TRUE(from_bytes(to_bytes(sample_message()), back));
  EXPECT_EQ(to_bytes(back), to_bytes(sample_message()));
  EXPECT_EQ(back.prompt_logprobs[1]->front().rank, 3);
  Submit submit;
  submit.message.prompt = {1, 2, 3};
  submit.message.params.logit_bias = {{4, 1.5f}};
  submit.message.params.stop = {"end", ""};
  submit.message.params.structured = {protocol::StructuredOutput::Kind::kChoice, "", {"a", "b"}};
  submit.nanoseconds_left = 12;
  Submit other;
  ASSERT_TRUE(from_bytes(to_bytes(submit), other));
  EXPECT_EQ(to_bytes(other), to_bytes(submit));
  EXPECT_EQ(other.message.params.structured.choices.back(), "b");
}

TEST(Wire, CutOrForeignBytesAreRefusedAndNeverOverread) {
  const std::string whole = to_bytes(std::vector<TokenMessage>{sample_message(), sample_message()});
  std::vector<TokenMessage> out;
  for (std::size_t n = 0; n < whole.size(); ++n) EXPECT_FALSE(from_bytes(whole.substr(0, n), out)) << n;
  for (std::size_t n = 0; n < whole.size(); ++n) {
    std::string bad = whole;
    bad[n] = static_cast<char>(0xff);
    from_bytes(bad, out);
  }
  EXPECT_FALSE(from_bytes(whole + "x", out));
}

class Listener final : public Subscriber {
 public:
  void on_tokens(std::vector<TokenMessage>&& messages) override {
    std::lock_guard lock(mutex_);
    for (auto& m : messages) {
      tokens.insert(tokens.end(), m.tokens.begin(), m.tokens.end());
      if (m.finish != FinishReason::kNone) {
        finish = m.finish;
        error = m.error;
        ++ends;
      }
    }
    changed_.notify_all();
  }
  void wait_for_end(int choices = 1) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kLong, [&] { return ends == choices; }));
  }
  void wait_for_token() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kLong, [&] { return !tokens.empty(); }));
  }
  std::vector<std::int32_t> tokens;
  FinishReason finish = FinishReason::kNone;
  Error error;
  int ends = 0;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

Result<RequestId> submit(Engine& engine, SubmitMessage message) {
  ASSIGN_OR_RETURN(auto admitted, engine.admit(std::move(message)));
  return engine.submit(std::move(admitted));
}

// An engine behind a connection, as in a rank's process, and the serving end of it.
struct Pair {
  explicit Pair(bool history = false) {
    Settings settings;
    settings.cache.num_blocks_override = 4000;
    settings.scheduler.max_model_len = 60000;
    Vocabulary vocabulary;
    vocabulary.size = 64;
    engine = start(std::make_unique<testing::FakeModel>(testing::FakeModelOptions{.history = history}), vocabulary, settings, metrics, clock).value();
    auto listener = fabric::Listener::open("127.0.0.1", 0, "s").value();
    auto far = fabric::Connection::connect("127.0.0.1", listener->port(), "s", "", in(kLong)).value();
    near = std::move(listener->accept(in(kLong)).value().connection);
    remote = remote_engine("rank 3", std::move(far), kLong, {[](const fabric::Frame&) { return true; }, [this](const std::string& why) {
      reason = why;
      lost = true;
      lost.notify_all();
    }});
    service = std::thread([this] { ended = serve_remote(*engine, *near, {[] { return std::string("x 1\n"); }, [] { return std::string("spans"); }}); });
  }
  ~Pair() {
    remote->exit();
    service.join();
  }
  SubmitMessage message(std::shared_ptr<Subscriber> subscriber, int max_tokens, int prompt = 20) {
    SubmitMessage m;
    for (int i = 0; i < prompt; ++i) m.prompt.push_back(i % 50);
    m.params.max_tokens = max_tokens;
    m.params.seed = 3;
    m.subscriber = std::move(subscriber);
    return m;
  }
  Metrics metrics;
  SteadyClock clock;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<fabric::Connection> near;
  std::unique_ptr<RemoteEngine> remote;
  std::thread service;
  Status ended;
  std::string reason;
  std::atomic<bool> lost{false};
};

TEST(RemoteEngine, AnswersAsTheEngineItself) {
  Pair p(true);
  auto there = std::make_shared<Listener>(), here = std::make_shared<Listener>();
  ASSERT_TRUE(submit(*p.engine, p.message(here, 30)).ok());
  ASSERT_TRUE(submit(*p.remote, p.message(there, 30)).ok());
  here->wait_for_end();
  there->wait_for_end();
  EXPECT_EQ(there->tokens, here->tokens);
  EXPECT_EQ(there->finish, FinishReason::kLength);
  EXPECT_EQ(p.remote->metrics_text(), "x 1\n");
  EXPECT_EQ(p.remote->timeline(), "spans");
  p.remote->drain(kLong);
  EXPECT_EQ(p.engine->stats().blocks_used, 0);
}

TEST(RemoteEngine, RefusalsArriveAsMessagesWithTheirReason) {
  Pair p;
  auto listener = std::make_shared<Listener>();
  SubmitMessage message = p.message(listener, 10, 100000);
  message.params.n = 2;
  ASSERT_TRUE(submit(*p.remote, std::move(message)).ok());
  listener->wait_for_end(2);
  EXPECT_EQ(listener->finish, FinishReason::kError);
  EXPECT_EQ(listener->error.code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(listener->error.message, HasSubstr("60000"));
}

TEST(RemoteEngine, CancellingFreesTheBlocks) {
  Pair p;
  auto listener = std::make_shared<Listener>();
  const auto id = submit(*p.remote, p.message(listener, 50000));
  ASSERT_TRUE(id.ok());
  listener->wait_for_token();
  p.remote->cancel(*id, -1);
  p.remote->drain(kLong);
  EXPECT_EQ(p.engine->stats().blocks_used, 0);
  EXPECT_EQ(listener->finish, FinishReason::kNone);
}

TEST(RemoteEngine, ALostRankIsReportedOnceAndTakesNothingMore) {
  Pair p;
  auto listener = std::make_shared<Listener>();
  ASSERT_TRUE(submit(*p.remote, p.message(listener, 50000)).ok());
  listener->wait_for_token();
  p.near->close();
  p.lost.wait(false);
  EXPECT_FALSE(p.reason.empty());
  EXPECT_EQ(listener->finish, FinishReason::kNone) << "its requests go on elsewhere";
  EXPECT_THAT(submit(*p.remote, p.message(listener, 5)).error().message, HasSubstr("rank 3 is gone"));
  EXPECT_FALSE(p.remote->stats().healthy);
}

TEST(RemoteEngine, ARankThatFallsSilentIsLost) {
  auto listener = fabric::Listener::open("127.0.0.1", 0, "s").value();
  auto far = fabric::Connection::connect("127.0.0.1", listener->port(), "s", "", in(kLong)).value();
  const auto near = std::move(listener->accept(in(kLong)).value().connection);
  std::atomic<bool> lost{false};
  std::string reason;
  const auto remote = remote_engine("rank 1", std::move(far), std::chrono::milliseconds(20),
                                    {[](const fabric::Frame&) { return true; }, [&](const std::string& why) {
                                      reason = why;
                                      lost = true;
                                      lost.notify_all();
                                    }});
  ASSERT_TRUE(near->send(static_cast<std::uint8_t>(FrameType::kReady), to_bytes(Ready{77, false, {}})).ok());
  lost.wait(false);
  EXPECT_THAT(reason, HasSubstr("no sign of life"));
  EXPECT_EQ(remote->max_model_len(), 77);
}

std::vector<std::int32_t> run_to_end(Engine& engine, SubmitMessage message, int choices = 1) {
  auto listener = std::make_shared<Listener>();
  message.subscriber = listener;
  EXPECT_TRUE(submit(engine, std::move(message)).ok());
  listener->wait_for_end(choices);
  EXPECT_EQ(listener->error.message, "");
  return listener->tokens;
}

TEST(RemoteEngine, ARequestGoesOnBehindItsProgressAsIfItHadNeverStopped) {
  Pair p(true);
  SubmitMessage whole = p.message(nullptr, 40);
  whole.params.temperature = 1;
  whole.params.frequency_penalty = 0.5f;
  const auto expected = run_to_end(*p.remote, whole);
  ASSERT_EQ(expected.size(), 40u);
  for (const std::size_t heard : {1u, 17u, 39u}) {
    SubmitMessage rest = whole;
    rest.progress = {{{expected.begin(), expected.begin() + static_cast<std::ptrdiff_t>(heard)}, false}};
    const auto tokens = run_to_end(*p.remote, rest);
    EXPECT_EQ(tokens, std::vector<std::int32_t>(expected.begin() + static_cast<std::ptrdiff_t>(heard), expected.end())) << heard;
  }
}

TEST(RemoteEngine, ChoicesThatHadEndedSayNothingMore) {
  Pair p(true);
  SubmitMessage m = p.message(nullptr, 12);
  m.params.n = 3;
  m.progress = {{{1, 2}, true}, {{3}, false}, {}};
  const auto tokens = run_to_end(*p.remote, m, 2);
  EXPECT_EQ(tokens.size(), 11u + 12u);
  p.remote->drain(kLong);
  EXPECT_EQ(p.engine->stats().blocks_used, 0);
}

// What control_membership.h and group_leader.h say to each other, over real connections.
struct Party {
  explicit Party(int rank) {
    auto listener = fabric::Listener::open("127.0.0.1", 0, "s").value();
    near = fabric::Connection::connect("127.0.0.1", listener->port(), "s", "", in(kLong)).value();
    far = std::move(listener->accept(in(kLong)).value().connection);
    membership = std::make_unique<ControlMembership>(*near, rank);
    reader = std::thread([this] { read(); });
  }
  ~Party() {
    far->close();
    near->close();
    reader.join();
  }
  void read() {
    for (;;) {
      const auto frame = near->receive(in(kLong));
      if (!frame.ok()) return;
      Group group;
      Gathered gathered;
      if (static_cast<FrameType>(frame->type) == FrameType::kGroup && from_bytes(frame->payload, group)) membership->announce(group);
      else if (from_bytes(frame->payload, gathered)) membership->gathered(gathered);
    }
  }
  std::unique_ptr<fabric::Connection> near, far;
  std::unique_ptr<ControlMembership> membership;
  std::thread reader;
};

TEST(Membership, AGroupGathersAndIsGivenUpForTheNext) {
  Party one(1), four(4);
  GroupLeader leader([&](int rank, FrameType type, const std::string& payload) {
    ASSERT_TRUE((rank == 1 ? one : four).far->send(static_cast<std::uint8_t>(type), payload).ok());
  });
  const auto pump = [&](Party& party, int rank) {
    const auto frame = party.far->receive(in(kLong)).value();
    Gather gather;
    ASSERT_TRUE(from_bytes(frame.payload, gather));
    leader.gather(rank, gather);
  };
  leader.announce({1, 4});
  fabric::Bootstrap* group = one.membership->next(kLong).value();
  ASSERT_EQ(four.membership->next(kLong).value()->rank(), 1);
  EXPECT_EQ(group->rank(), 0);
  std::thread other([&] { EXPECT_TRUE(four.membership->next(kLong).ok()); });
  std::thread first([&] { EXPECT_EQ(group->all_gather("a").error().code, ErrorCode::kUnavailable); });
  pump(one, 1);
  const auto given_up = group->given_up();
  EXPECT_FALSE(given_up->load());
  leader.announce({1, 4});
  first.join();
  other.join();
  EXPECT_TRUE(given_up->load());
  EXPECT_EQ(leader.forming(), (std::vector<int>{1, 4}));
  group = one.membership->next(kLong).value();
  std::thread again([&] { EXPECT_EQ(group->all_gather("b").value(), (std::vector<std::string>{"b", "c"})); });
  pump(one, 1);
  leader.gather(4, {leader.generation(), "c"});
  again.join();
  leader.formed(1, {leader.generation(), ""});
  leader.formed(4, {leader.generation(), "no memory"});
  EXPECT_EQ(leader.forming(), std::vector<int>{4});
  EXPECT_EQ(leader.failure(), (std::pair<int, std::string>{4, "no memory"}));
  one.membership->close();
  EXPECT_FALSE(one.membership->next(kLong).ok());
}

}  // namespace
}  // namespace braid::engine
