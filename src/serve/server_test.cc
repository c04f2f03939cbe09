// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>

#include "engine/testing/literal_grammar.h"
#include "serve/testing/server_fixture.h"

namespace braid::serve {
namespace {

using ::testing::HasSubstr;

using testing::kPatience;

// A door that tests keep shut to hold a thread up.
class Door {
 public:
  void pass() {
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    changed_.wait_for(lock, kPatience, [&] { return open_; });
  }
  void wait_for_somebody() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return arrived_ > 0; }));
  }
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int arrived_ = 0;
  bool open_ = false;
};

// One token a character; text that begins with "slow" waits at the door.
class LetterTokenizer final : public text::Tokenizer {
 public:
  explicit LetterTokenizer(Door& door) : door_(door) {}
  std::vector<std::int32_t> encode(std::string_view text, bool) const override {
    if (text.starts_with("slow")) door_.pass();
    return {text.begin(), text.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(text.size(), 20))};
  }
  std::string decode(std::span<const std::int32_t> ids, bool) const override { return {ids.begin(), ids.end()}; }
  std::int32_t vocabulary_size() const override { return 128; }
  std::optional<std::int32_t> id_of(std::string_view) const override { return std::nullopt; }
  std::string token(std::int32_t id) const override { return bytes(id); }
  const std::string& bytes(std::int32_t) const override { return letter_; }
  bool is_special(std::int32_t) const override { return false; }
  text::Decoding decoding() const override { return text::Decoding::kBytes; }

 private:
  Door& door_;
  const std::string letter_ = "x";
};

class SlowGrammars final : public text::GrammarCompiler {
 public:
  explicit SlowGrammars(Door& door) : door_(door) {}
  Result<std::unique_ptr<text::GrammarMatcher>> compile(text::GrammarKind kind, const std::string&) const override {
    door_.pass();
    return engine::testing::LiteralCompiler().compile(kind, "7");
  }

 private:
  Door& door_;
};

class ServerTest : public testing::ServerFixture {
 protected:
  void start(Settings settings = {}) {
    engine::Vocabulary vocabulary;
    vocabulary.grammars = std::make_shared<SlowGrammars>(door_);
    ServerFixture::start({.model = {.vocabulary = 128}, .vocabulary = vocabulary, .tokenizer = std::make_shared<LetterTokenizer>(door_),
                          .settings = std::move(settings)});
  }
  void TearDown() override {
    door_.open();
    ServerFixture::TearDown();
  }

  net::ClientResponse complete(const std::string& fields) {
    return fetch({.method = "POST", .target = "/v1/completions", .body = "{\"max_tokens\":3," + fields + "}"});
  }
  std::future<net::ClientResponse> completing(const std::string& fields) {
    return std::async(std::launch::async, [this, fields] { return complete(fields); });
  }
  void wait_for_load(int load) {
    const std::string want = "{\"server_load\":" + std::to_string(load) + "}";
    const TimePoint deadline = clock_.now() + kPatience;
    while (fetch({.target = "/load"}).body != want) ASSERT_LT(clock_.now(), deadline);
  }

  const std::string slow_ = "\"prompt\":\"slow" + std::string(8000, 'x') + "\"";
  Door door_;
};

TEST_F(ServerTest, others_are_answered_while_a_long_prompt_is_tokenised) {
  start();
  auto slow = completing(slow_);
  door_.wait_for_somebody();
  EXPECT_EQ(fetch({.target = "/health"}).status, 200);
  EXPECT_EQ(complete("\"prompt\":\"quick\"").status, 200);
  door_.open();
  EXPECT_EQ(slow.get().status, 200);
}

TEST_F(ServerTest, others_are_answered_while_a_grammar_is_compiled) {
  start();
  auto slow = completing("\"prompt\":\"a\",\"structured_outputs\":{\"regex\":\"x\"}");
  door_.wait_for_somebody();
  EXPECT_EQ(complete("\"prompt\":\"quick\"").status, 200);
  door_.open();
  const auto answer = slow.get();
  EXPECT_EQ(answer.status, 200) << answer.body;
}

TEST_F(ServerTest, more_long_prompts_than_may_wait_are_refused_with_retry_after) {
  Settings settings;
  settings.max_waiting_prompts = 1;
  start(settings);
  auto first = completing(slow_);
  door_.wait_for_somebody();
  auto second = completing(slow_);
  wait_for_load(2);
  const auto refused = complete(slow_);
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(net::find_header(refused.headers, "Retry-After"), "1");
  EXPECT_THAT(refused.body, HasSubstr("wait to be tokenised"));
  door_.open();
  EXPECT_EQ(first.get().status, 200);
  EXPECT_EQ(second.get().status, 200);
}

TEST_F(ServerTest, a_drain_answers_what_has_come_and_refuses_what_comes) {
  start();
  auto slow = completing(slow_);
  door_.wait_for_somebody();
  auto drained = std::async(std::launch::async, [this] { server_->drain(kPatience); });
  const TimePoint deadline = clock_.now() + kPatience;
  while (fetch({.target = "/ready"}).status != 503) ASSERT_LT(clock_.now(), deadline);
  EXPECT_EQ(complete("\"prompt\":\"late\"").status, 503);
  door_.open();
  EXPECT_EQ(slow.get().status, 200);
  drained.get();
}

TEST_F(ServerTest, streams_of_one_step_reach_their_own_clients) {
  start();
  std::vector<std::future<net::ClientResponse>> streams;
  std::vector<net::ClientResponse> alone;
  const auto fields = [](int i) { return "\"stream\":true,\"temperature\":0,\"prompt\":\"" + std::string(3, static_cast<char>('a' + i)) + "\""; };
  const auto texts = [](const net::ClientResponse& r) {
    std::string all;
    for (auto at = r.body.find("\"text\":\""); at != std::string::npos; at = r.body.find("\"text\":\"", at + 1)) all += r.body.substr(at, 12);
    return all;
  };
  for (int i = 0; i < 8; ++i) alone.push_back(complete(fields(i)));
  for (int i = 0; i < 8; ++i) streams.push_back(completing(fields(i)));
  for (std::size_t i = 0; i < 8; ++i) {
    const auto together = streams[i].get();
    EXPECT_EQ(texts(together), texts(alone[i]));
    EXPECT_THAT(together.body, HasSubstr("data: [DONE]"));
  }
}

}  // namespace
}  // namespace braid::serve
