// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "engine/testing/fake_model.h"

namespace braid::engine {
namespace {

using protocol::FinishReason;
using ::testing::HasSubstr;

constexpr Duration kPatience = std::chrono::seconds(60);

// Collects the messages of one request, and lets a test wait for them.
class Listener final : public Subscriber {
 public:
  void on_tokens(std::vector<TokenMessage>&& messages) override {
    std::lock_guard lock(mutex_);
    for (TokenMessage& m : messages) {
      tokens_[m.index].insert(tokens_[m.index].end(), m.tokens.begin(), m.tokens.end());
      if (m.finish != FinishReason::kNone) finish_[m.index] = m.finish;
    }
    changed_.notify_all();
  }
  std::vector<std::int32_t> wait_for_end(int index = 0) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return finish_.contains(index); }));
    return tokens_[index];
  }
  void wait_for_tokens(std::size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return tokens_[0].size() >= count; }));
  }
  FinishReason finish(int index = 0) {
    std::lock_guard lock(mutex_);
    return finish_[index];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int, std::vector<std::int32_t>> tokens_;
  std::map<int, FinishReason> finish_;
};

struct Running {
  explicit Running(testing::FakeModelOptions model = {}, int max_waiting = 1000) {
    Settings settings;
    settings.cache.num_blocks_override = 200;
    settings.cache.block_size = 4;
    settings.scheduler.max_num_seqs = 16;
    settings.scheduler.max_num_batched_tokens = 64;
    settings.scheduler.max_model_len = 800;
    settings.scheduler.max_waiting_requests = max_waiting;
    Vocabulary vocabulary;
    vocabulary.size = model.vocabulary;
    engine = start(
        std::make_unique<testing::FakeModel>(model), vocabulary, settings, metrics, clock).value();
  }

  SubmitMessage message(int prompt, int max_tokens, std::shared_ptr<Subscriber> subscriber, int n = 1) {
    SubmitMessage m;
    for (int i = 0; i < prompt; ++i) m.prompt.push_back(i % 50);
    m.params.max_tokens = max_tokens;
    m.params.n = n;
    m.params.seed = 3;
    m.subscriber = std::move(subscriber);
    return m;
  }

  Result<RequestId> submit(int prompt, int max_tokens, std::shared_ptr<Subscriber> subscriber, int n = 1) {
    ASSIGN_OR_RETURN(auto request, engine->admit(message(prompt, max_tokens, std::move(subscriber), n)));
    return engine->submit(std::move(request));
  }

  Metrics metrics;
  SteadyClock clock;
  std::unique_ptr<Engine> engine;
};

TEST(Engine, serves_requests_from_many_threads_alike) {
  Running r;
  auto first = std::make_shared<Listener>();
  ASSERT_TRUE(r.submit(20, 30, first).ok());
  const auto want = first->wait_for_end();
  EXPECT_EQ(want.size(), 30u);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        auto listener = std::make_shared<Listener>();
        ASSERT_TRUE(r.submit(20, 30, listener).ok());
        EXPECT_EQ(listener->wait_for_end(), want);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  r.engine->drain(kPatience);
  EXPECT_EQ(r.engine->stats().blocks_used, 0);
  EXPECT_EQ(r.engine->stats().waiting, 0);
}

TEST(Engine, cancelling_frees_blocks) {
  Running r;
  auto listener = std::make_shared<Listener>();
  const auto id = r.submit(20, 700, listener, 2);
  ASSERT_TRUE(id.ok());
  listener->wait_for_tokens(2);
  r.engine->cancel(id.value());
  r.engine->drain(kPatience);
  EXPECT_EQ(r.engine->stats().blocks_used, 0);
}

TEST(Engine, draining_refuses_new_requests_and_aborts_what_takes_too_long) {
  Running r;
  auto listener = std::make_shared<Listener>();
  ASSERT_TRUE(r.submit(20, 700, listener).ok());
  listener->wait_for_tokens(1);
  r.engine->drain(Duration::zero());
  listener->wait_for_end();
  const auto refused = r.submit(5, 5, listener);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
}

TEST(Engine, destroying_it_aborts_what_runs) {
  auto listener = std::make_shared<Listener>();
  {
    Running r;
    ASSERT_TRUE(r.submit(20, 700, listener).ok());
  }
  listener->wait_for_end();
}

TEST(Engine, says_why_it_died) {
  Running r({.fail_at = 3});
  auto listener = std::make_shared<Listener>();
  ASSERT_TRUE(r.submit(20, 700, listener).ok());
  listener->wait_for_end();
  EXPECT_EQ(listener->finish(), FinishReason::kError);
  r.engine->drain(kPatience);
  EXPECT_FALSE(r.engine->stats().healthy);
  EXPECT_THAT(r.engine->stats().failure, HasSubstr("planted failure"));
}

}  // namespace
}  // namespace braid::engine
