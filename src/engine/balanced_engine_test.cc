// SPDX-License-Identifier: Apache-2.0
#include "engine/balanced_engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace braid::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ChooseRank, TakesTheOneWithTheLeastWork) {
  EXPECT_EQ(choose_rank({{0, 100}, {0, 50}, {0, 70}}, 0), 1);
  EXPECT_EQ(choose_rank({{1600, 0}, {0, 90}}, 0), 1) << "a prompt token weighs a sixteenth";
  EXPECT_EQ(choose_rank({{0, 100, 0.9}, {0, 200, 0.1}}, 0), 1) << "a full cache counts";
}

TEST(ChooseRank, TiesGoRoundAndSickRanksGetNothing) {
  const std::vector<RankLoad> equal(3);
  EXPECT_EQ(choose_rank(equal, 0), 0);
  EXPECT_EQ(choose_rank(equal, 4), 1);
  EXPECT_EQ(choose_rank({{0, 0, 0, false}, {9, 9}}, 0), 1);
  EXPECT_EQ(choose_rank({{0, 0, 0, false}}, 0), -1);
}

// Accepts everything; tests say what it answers.
class FakeEngine final : public Engine {
 public:
  struct Request final : Admitted {
    SubmitMessage message;
  };
  Result<std::unique_ptr<Admitted>> admit(SubmitMessage message) override {
    auto admitted = std::make_unique<Request>();
    admitted->message = std::move(message);
    return std::unique_ptr<Admitted>(std::move(admitted));
  }
  Result<RequestId> submit(std::unique_ptr<Admitted> admitted) override {
    if (full) return Error{ErrorCode::kResourceExhausted, "the queue is full", {}};
    if (gone) return Error{ErrorCode::kUnavailable, "gone", {}};
    messages[next] = std::move(static_cast<Request&>(*admitted).message);
    requests[next] = messages[next].subscriber;
    return next++;
  }
  void cancel(RequestId request, int) override { cancelled.push_back(request); }
  Stats stats() const override { return now; }
  std::int32_t max_model_len() const override { return 100; }
  void reset_prefix_cache() override {}
  void drain(Duration) override {}

  void say(RequestId request, int tokens, protocol::FinishReason finish = protocol::FinishReason::kNone, int index = 0) {
    TokenMessage m;
    m.request = request;
    m.index = index;
    m.tokens.assign(static_cast<std::size_t>(tokens), 1);
    m.finish = finish;
    std::vector<TokenMessage> batch{m};
    requests[request]->on_tokens(std::move(batch));
  }

  bool full = false, gone = false;
  std::map<RequestId, SubmitMessage> messages;
  Stats now;
  RequestId next = 1;
  std::map<RequestId, std::shared_ptr<Subscriber>> requests;
  std::vector<RequestId> cancelled;
};

struct Heard final : Subscriber {
  void on_tokens(std::vector<TokenMessage>&& messages) override {
    for (const auto& m : messages) {
      ids.push_back(m.request);
      tokens += m.tokens.size();
      if (m.finish == protocol::FinishReason::kError) error = m.error.message;
    }
  }
  std::vector<RequestId> ids;
  std::size_t tokens = 0;
  std::string error;
};

struct BalancedEngineTest : ::testing::Test {
  BalancedEngineTest() {
    balanced->add(0, std::shared_ptr<Engine>(&a, [](Engine*) {}));
    balanced->add(1, std::shared_ptr<Engine>(&b, [](Engine*) {}));
  }
  RequestId submit(int prompt, int max_tokens, std::optional<int> rank = {}) {
    SubmitMessage m;
    m.prompt.assign(static_cast<std::size_t>(prompt), 1);
    m.params.max_tokens = max_tokens;
    m.subscriber = heard;
    m.rank = rank;
    return take(std::move(m)).value();
  }
  Result<RequestId> take(SubmitMessage m) {
    ASSIGN_OR_RETURN(auto admitted, balanced->admit(std::move(m)));
    return balanced->submit(std::move(admitted));
  }
  FakeEngine a, b;
  std::shared_ptr<Heard> heard = std::make_shared<Heard>();
  std::unique_ptr<BalancedEngine> balanced = balanced_engine();
};

TEST_F(BalancedEngineTest, ABurstIsSpreadByTokensAndNotByRequests) {
  submit(16, 1000);
  for (int i = 0; i < 4; ++i) submit(16, 100);
  EXPECT_EQ(a.requests.size() == 1 ? b.requests.size() : a.requests.size(), 4u);
}

TEST_F(BalancedEngineTest, MessagesAndCancellationsFindTheirRequest) {
  const RequestId on_b = submit(1, 10, 1), on_a = submit(1, 10, 0);
  EXPECT_NE(on_a, on_b);
  a.say(1, 1);
  b.say(1, 1);
  EXPECT_THAT(heard->ids, ElementsAre(on_a, on_b));
  balanced->cancel(on_b, -1);
  EXPECT_THAT(b.cancelled, ElementsAre(1));
  EXPECT_TRUE(a.cancelled.empty());
}

TEST_F(BalancedEngineTest, WorkThatEndedOrWasCancelledOrRefusedIsForgotten) {
  const RequestId big = submit(1, 5000, 0);
  balanced->cancel(big, -1);
  submit(1, 5000, 0);
  a.say(2, 3, protocol::FinishReason::kStop);
  a.full = true;
  SubmitMessage m;
  m.rank = 0;
  m.params.max_tokens = 9000;
  m.subscriber = heard;
  EXPECT_EQ(take(std::move(m)).error().code, ErrorCode::kResourceExhausted);
  a.full = false;
  submit(1, 10, 1);
  submit(1, 10);
  EXPECT_EQ(a.requests.size(), 3u) << "the next goes to the idle rank";
}

TEST_F(BalancedEngineTest, APinnedRankMustExist) {
  SubmitMessage m;
  m.rank = 2;
  EXPECT_THAT(take(std::move(m)).error().message, HasSubstr("data_parallel_rank 2 does not exist; there are ranks 0 to 1"));
}

TEST_F(BalancedEngineTest, ASickRankGetsNothingNew) {
  a.now.healthy = false;
  a.now.failure = "rank 0 is gone";
  EXPECT_TRUE(balanced->stats().healthy);
  submit(1, 1);
  EXPECT_EQ(b.requests.size(), 1u);
  b.now.healthy = false;
  EXPECT_FALSE(balanced->stats().healthy);
}

TEST_F(BalancedEngineTest, RequestsOfALostRankGoOnBehindTheTokensThatWereHeard) {
  SubmitMessage m;
  m.prompt = {4, 5, 6};
  m.params.max_tokens = 10;
  m.params.n = 2;
  m.params.prompt_logprobs = 1;
  m.subscriber = heard;
  m.rank = 0;
  const RequestId id = take(std::move(m)).value();
  EXPECT_TRUE(a.messages[1].progress.empty());
  a.say(1, 3);
  a.say(1, 2, protocol::FinishReason::kStop, 1);
  balanced->lose(0, "rank 0 is gone");
  ASSERT_EQ(b.messages.size(), 1u);
  const SubmitMessage& again = b.messages[1];
  EXPECT_EQ(again.prompt, (std::vector<std::int32_t>{4, 5, 6}));
  ASSERT_EQ(again.progress.size(), 2u);
  EXPECT_EQ(again.progress[0].tokens.size(), 3u);
  EXPECT_FALSE(again.progress[0].ended);
  EXPECT_TRUE(again.progress[1].ended);
  EXPECT_FALSE(again.params.prompt_logprobs.has_value()) << "they were heard";
  b.say(1, 4, protocol::FinishReason::kLength);
  EXPECT_EQ(heard->tokens, 9u);
  EXPECT_THAT(heard->ids, ElementsAre(id, id, id));
  balanced->cancel(id, -1);
  EXPECT_TRUE(b.cancelled.empty()) << "it has ended";
}

TEST_F(BalancedEngineTest, ARequestThatMeetsALostRankIsPlacedAgain) {
  a.gone = true;
  a.now.healthy = false;
  submit(1, 10, 0);
  EXPECT_EQ(b.requests.size(), 1u);
}

TEST_F(BalancedEngineTest, WithoutAnotherRankTheRequestEndsWithTheReason) {
  submit(1, 10, 0);
  balanced->lose(1, "rank 1 is gone");
  balanced->lose(0, "rank 0 is gone");
  EXPECT_THAT(heard->error, HasSubstr("rank 0 is gone, and no other rank could go on"));
  EXPECT_FALSE(balanced->stats().healthy);
}

TEST_F(BalancedEngineTest, ARequestThatKillsEveryRankIsGivenUp) {
  submit(1, 10, 0);
  for (int i = 0; i < 4; ++i) {
    FakeEngine& sick = i % 2 == 0 ? a : b;
    balanced->lose(i % 2, "it is gone");
    balanced->add(i % 2, std::shared_ptr<Engine>(&sick, [](Engine*) {}));
  }
  EXPECT_THAT(heard->error, HasSubstr("4 ranks that were lost"));
  EXPECT_EQ(a.messages.size() + b.messages.size(), 4u);
}

TEST_F(BalancedEngineTest, ARetiredRankKeepsItsRequestsAndGetsNoNewOnes) {
  submit(1, 10, 1);
  balanced->retire(1);
  submit(1, 10, 1);
  EXPECT_EQ(a.requests.size(), 1u);
  EXPECT_EQ(balanced->requests(1), 1);
  b.say(1, 10, protocol::FinishReason::kLength);
  EXPECT_EQ(balanced->requests(1), 0);
  EXPECT_EQ(heard->tokens, 10u);
}

TEST_F(BalancedEngineTest, ARankThatLeavesOnPurposeCountsNotAgainstItsRequestsAndExistsNoMore) {
  submit(1, 10, 1);
  for (int i = 0; i < 6; ++i) {
    FakeEngine& leaving = i % 2 == 0 ? b : a;
    balanced->retire(1 - i % 2);
    balanced->lose(1 - i % 2, "it has left");
    balanced->add(1 - i % 2, std::shared_ptr<Engine>(&leaving, [](Engine*) {}));
  }
  EXPECT_EQ(heard->error, "");
  balanced->retire(1);
  balanced->lose(1, "it has left");
  SubmitMessage m;
  m.rank = 1;
  EXPECT_THAT(take(std::move(m)).error().message, HasSubstr("data_parallel_rank 1 does not exist; there is rank 0 only"));
}

}  // namespace
}  // namespace braid::engine
