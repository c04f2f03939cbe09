// SPDX-License-Identifier: Apache-2.0
// Many ranks with requests that arrive at random: every step is agreed by all, idle ranks take part,
// and when nobody has work nobody steps.
#include "engine/lockstep.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>

#include "engine/engine.h"
#include "engine/testing/fake_model.h"
#include "fabric/testing/local_bootstrap.h"
#include "tests/ranks/local_membership.h"
#include "transport/shm/shm.h"

namespace braid::engine {
namespace {

constexpr Duration kLong = std::chrono::seconds(60);

// A fake model that also counts its passes and remembers what it was told of the others.
class CountingModel final : public model::Model {
 public:
  explicit CountingModel(std::vector<std::int64_t>* most) : most_(most) {}
  const model::Config& config() const override { return inner_.config(); }
  kv::Layout cache_layout() const override { return inner_.cache_layout(); }
  std::size_t weight_bytes() const override { return 0; }
  const std::vector<ChosenKernel>& chosen_kernels() const override { return inner_.chosen_kernels(); }
  Result<Matrix<const float>> forward(const model::Batch& batch, kv::Cache& cache, const model::Trace* trace) override {
    EXPECT_LE(batch.tokens(), batch.most_tokens);
    most_->push_back(batch.most_tokens);
    return inner_.forward(batch, cache, trace);
  }

 private:
  testing::FakeModel inner_;
  std::vector<std::int64_t>* most_;
};

class Ended final : public Subscriber {
 public:
  explicit Ended(std::atomic<int>& left) : left_(left) {}
  void on_tokens(std::vector<TokenMessage>&& messages) override {
    for (const auto& m : messages) {
      EXPECT_NE(m.finish, protocol::FinishReason::kError) << m.error.message;
      if (m.finish != protocol::FinishReason::kNone && --left_ == 0) left_.notify_all();
    }
  }

 private:
  std::atomic<int>& left_;
};

void run_rank(fabric::Bootstrap& b, std::vector<std::int64_t>& most) {
  const auto transport = transport::shm::transport({.spin = Duration::zero()});
  testing::LocalMembership membership;
  Lockstep lockstep(membership, *transport, kLong, [](fabric::Bootstrap&) { return Status::success(); });
  membership.announce(b);
  Settings settings;
  settings.cache.num_blocks_override = 200;
  settings.scheduler.max_num_batched_tokens = 64;
  settings.scheduler.max_model_len = 200;
  Vocabulary vocabulary;
  vocabulary.size = 64;
  Metrics metrics;
  SteadyClock clock;
  std::mt19937 random(static_cast<unsigned>(b.rank()));
  std::atomic<int> left{0};
  {
    const auto engine = start(std::make_unique<CountingModel>(&most), vocabulary, settings, metrics, clock, {&lockstep}).value();
    membership.wait_for_group();
    for (int wave = 0; wave < 4; ++wave) {
      const int requests = static_cast<int>(random() % 4);
      left = requests;
      for (int i = 0; i < requests; ++i) {
        SubmitMessage m;
        m.prompt.assign(1 + random() % 90, 7);
        m.params.max_tokens = 1 + static_cast<int>(random() % 20);
        m.subscriber = std::make_shared<Ended>(left);
        EXPECT_TRUE(engine->submit(engine->admit(std::move(m)).value()).ok());
      }
      for (int seen = left; seen > 0; seen = left) left.wait(seen);
      if (wave % 2 == 0) continue;
      EXPECT_TRUE(b.all_gather("everybody rests").ok());
    }
    EXPECT_TRUE(b.all_gather("done").ok());
    EXPECT_TRUE(engine->stats().healthy) << engine->stats().failure;
    EXPECT_EQ(engine->stats().blocks_used, 0);
  }
  EXPECT_TRUE(b.all_gather("ended").ok());
}

TEST(Lockstep, NoStepDivergesWhateverArrivesWhere) {
  for (const int size : {1, 2, 3, 8, 16}) {
    std::vector<std::vector<std::int64_t>> most(static_cast<std::size_t>(size));
    fabric::testing::run_ranks(size, [&](fabric::Bootstrap& b) { run_rank(b, most[static_cast<std::size_t>(b.rank())]); });
    for (const auto& m : most) EXPECT_EQ(m, most.front()) << size << " ranks";
  }
}

TEST(Lockstep, APeerThatStaysAwayIsNamed) {
  fabric::testing::run_ranks(2, [](fabric::Bootstrap& b) {
    const auto transport = transport::shm::transport({});
    testing::LocalMembership membership;
    Lockstep lockstep(membership, *transport, std::chrono::milliseconds(30), [](fabric::Bootstrap&) { return Status::success(); });
    membership.announce(b);
    ASSERT_TRUE(lockstep.form().ok());
    if (b.rank() == 0) {
      const auto agreed = lockstep.agree({1});
      ASSERT_FALSE(agreed.ok());
      EXPECT_NE(agreed.error().message.find("rank 0 waits for rank 1 in agreement on a step"), std::string::npos);
    }
    ASSERT_TRUE(b.all_gather("done").ok());
  });
}

TEST(Lockstep, AnErrorThatHasNothingToDoWithRanksIsNotRepeated) {
  testing::LocalMembership membership;
  const auto transport = transport::shm::transport({});
  Lockstep lockstep(membership, *transport, kLong, [](fabric::Bootstrap&) { return Status::success(); });
  EXPECT_EQ(lockstep.recover(internal_error("the model broke")).error().message, "the model broke");
  EXPECT_EQ(membership.groups(), 0);
}

TEST(Lockstep, ThoseThatAreLeftDoTheBrokenStepAgain) {
  fabric::testing::Meeting of_two(2);
  fabric::testing::run_ranks(3, [&](fabric::Bootstrap& b) {
    const auto transport = transport::shm::transport({});
    testing::LocalMembership membership;
    int rebuilt = 0;
    Lockstep lockstep(membership, *transport, kLong, [&](fabric::Bootstrap& group) {
      rebuilt = group.size();
      return Status::success();
    });
    membership.announce(b);
    ASSERT_TRUE(lockstep.form().ok());
    ASSERT_EQ(lockstep.agree({b.rank()})->all_tokens, 3);
    if (b.rank() == 2) {
      ASSERT_TRUE(b.all_gather("gone").ok());
      return;
    }
    fabric::testing::LocalBootstrap rest(of_two, b.rank(), 2);
    ASSERT_TRUE(b.all_gather("alone").ok());
    membership.announce(rest);
    const auto broken = lockstep.agree({b.rank()});
    ASSERT_EQ(broken.error().code, ErrorCode::kUnavailable);
    ASSERT_TRUE(lockstep.recover(broken.error()).ok());
    EXPECT_EQ(rebuilt, 2);
    EXPECT_EQ(lockstep.agree({b.rank()})->all_tokens, 1);
    ASSERT_TRUE(rest.all_gather("done").ok());
  });
}

}  // namespace
}  // namespace braid::engine
