// SPDX-License-Identifier: Apache-2.0
// Engines that lend blocks and read them, over each transport.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <thread>

#include "base/check.h"
#include "transfer/node.h"
#include "transport/shm/shm.h"
#include "transport/ucx/ucx.h"

namespace braid::transfer {
namespace {

using ::testing::HasSubstr;

constexpr Duration kLong = std::chrono::seconds(60);
constexpr int kLayers = 3;
constexpr std::int32_t kBlocks = 40;

std::vector<std::int32_t> tokens(std::int32_t count) {
  std::vector<std::int32_t> all;
  for (std::int32_t i = 0; i < count; ++i) all.push_back(i * 31 % 1000);
  return all;
}

std::unique_ptr<fabric::Transport> make(const std::string& name) {
  if (name == "shm") return transport::shm::transport({});
  return std::unique_ptr<fabric::Transport>(transport::ucx::transport({}).value());
}

struct Kind {
  std::string transport = "shm";
  int block_size = 4;
  std::string secret;
  double lease_seconds = 60;
};

// A node with a cache of bytes: row i of layer l is known by its content.
struct Engine {
  explicit Engine(const Kind& setup, DType dtype = DType::kF32) : block_size(setup.block_size) {
    Settings s;
    s.kv_role = "kv_both";
    s.kv_port = 0;
    s.kv_secret = setup.secret;
    s.kv_connector_extra_config.text = "{\"kv_lease_duration\":" + std::to_string(setup.lease_seconds) + "}";
    node = Node::open(s, make(setup.transport), 0, "model").value();
    CHECK(node->share({kLayers, 5, dtype}, kBlocks, block_size).ok());
    node->start([] {});
  }
  ~Engine() { node->stop(); }

  float* row(int layer, std::int32_t index) const { return reinterpret_cast<float*>(node->layer(layer)) + std::ptrdiff_t{index} * 5; }
  float* row_of(int layer, std::int32_t position, const std::vector<kv::BlockId>& blocks) const {
    return row(layer, blocks[static_cast<std::size_t>(position / block_size)] * block_size + position % block_size);
  }
  static float value(int layer, std::int32_t position, int column) { return static_cast<float>(layer * 10000 + position * 10 + column); }

  void fill(std::int32_t count, const std::vector<kv::BlockId>& blocks) const {
    for (int layer = 0; layer < kLayers; ++layer) {
      for (std::int32_t p = 0; p < count; ++p) {
        for (int c = 0; c < 5; ++c) row_of(layer, p, blocks)[c] = value(layer, p, c);
      }
    }
  }
  bool has(std::int32_t position, const std::vector<kv::BlockId>& blocks) const {
    for (int layer = 0; layer < kLayers; ++layer) {
      for (int c = 0; c < 5; ++c) {
        if (row_of(layer, position, blocks)[c] != value(layer, position, c)) return false;
      }
    }
    return true;
  }

  Source lend(std::int32_t count, std::vector<kv::BlockId> blocks) {
    fill(count, blocks);
    const auto prompt = tokens(count);
    return *read_params(node->lender()->hold({std::move(blocks), count, count - 1, digest_of(prompt.data(), count)}, clock.now())).value().source;
  }

  News next_news() {
    const TimePoint deadline = std::chrono::steady_clock::now() + kLong;
    while (std::chrono::steady_clock::now() < deadline) {
      for (News& n : node->borrower()->news()) waiting.push_back(std::move(n));
      if (!waiting.empty()) {
        News first = std::move(waiting.front());
        waiting.erase(waiting.begin());
        return first;
      }
      std::this_thread::yield();
    }
    return {.error = "no news came"};
  }

  // Blocks that came back, once there are some.
  std::vector<kv::BlockId> back() {
    const TimePoint deadline = std::chrono::steady_clock::now() + kLong;
    for (;;) {
      auto blocks = node->lender()->collect(clock.now()).blocks;
      if (!blocks.empty() || std::chrono::steady_clock::now() > deadline) return blocks;
      std::this_thread::yield();
    }
  }

  const int block_size;
  SteadyClock clock;
  std::unique_ptr<Node> node;
  std::vector<News> waiting;
};

const std::vector<kv::BlockId> kTheirs = {7, 8, 9, 3, 20, 21, 39, 0, 11, 12};

class OverTransports : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, OverTransports, ::testing::Values("shm", "ucx"));

TEST_P(OverTransports, blocks_of_any_size_are_read_where_they_are_wanted) {
  for (const int size : {1, 2, 4, 7, 16}) {
    Engine lender({.transport = GetParam()}), reader({.transport = GetParam(), .block_size = size});
    const Source source = lender.lend(38, kTheirs);
    const FetchId fetch = reader.node->borrower()->open(source, tokens(40));
    const News granted = reader.next_news();
    ASSERT_EQ(granted.kind, News::Kind::kGranted) << granted.error;
    EXPECT_EQ(granted.tokens, 38);
    EXPECT_EQ(granted.followed, 37);
    std::vector<kv::BlockId> ours;
    for (std::int32_t i = 0; i * size < 38; ++i) ours.push_back(kBlocks - 1 - i);
    reader.node->borrower()->read(fetch, {5, 37, ours});
    const News read = reader.next_news();
    ASSERT_EQ(read.kind, News::Kind::kRead) << read.error;
    EXPECT_EQ(read.bytes, 32u * 5 * 4 * kLayers);
    for (std::int32_t p = 0; p < 38; ++p) EXPECT_EQ(reader.has(p, ours), p >= 5 && p < 37) << p;
    EXPECT_EQ(lender.back().size(), kTheirs.size());
    EXPECT_EQ(lender.node->lender()->holds(), 0);
  }
}

TEST_P(OverTransports, what_is_still_computed_is_read_as_it_is_published) {
  Engine lender({.transport = GetParam()}), reader({.transport = GetParam(), .block_size = 3});
  const auto prompt = tokens(38);
  const auto promised = lender.node->lender()->promise(38, digest_of(prompt.data(), 38), 0);
  const FetchId fetch = reader.node->borrower()->open(*read_params(promised.params).value().source, prompt);
  const News granted = reader.next_news();
  ASSERT_EQ(granted.kind, News::Kind::kGranted) << granted.error;
  EXPECT_EQ(granted.tokens, 38);
  EXPECT_TRUE(granted.growing);
  std::vector<kv::BlockId> ours;
  for (std::int32_t i = 0; i * 3 < 38; ++i) ours.push_back(kBlocks - 1 - i);
  reader.node->borrower()->read(fetch, {2, 37, ours});
  std::vector<kv::BlockId> theirs;
  const auto compute = [&](std::int32_t from, std::int32_t to, const std::vector<kv::BlockId>& blocks) {
    ASSERT_TRUE(lender.node->lender()->extend(promised.id, blocks));
    theirs.insert(theirs.end(), blocks.begin(), blocks.end());
    lender.fill(to, theirs);
    lender.node->lender()->publish(promised.id, to, to);
    const TimePoint deadline = std::chrono::steady_clock::now() + kLong;
    for (std::int32_t p = std::max(2, from); p < std::min(to, 37); ++p) {
      while (!reader.has(p, ours) && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
      EXPECT_TRUE(reader.has(p, ours)) << p;
    }
  };
  compute(0, 9, {20, 21, 22});
  compute(9, 30, {30, 31, 32, 33, 34});
  compute(30, 38, {35, 36});
  EXPECT_TRUE(reader.node->borrower()->news().empty()) << "it is not over";
  EXPECT_NE(lender.node->lender()->fulfil(promised.id, 38, 37, 5, lender.clock.now()), "");
  const News read = reader.next_news();
  ASSERT_EQ(read.kind, News::Kind::kRead) << read.error;
  EXPECT_EQ(read.next, 5);
  EXPECT_EQ(read.followed, 37);
  EXPECT_EQ(lender.back().size(), 10u);
  EXPECT_EQ(lender.node->lender()->holds(), 0);
}

TEST_P(OverTransports, what_has_to_be_computed_again_is_granted_again_when_it_is) {
  Engine lender({.transport = GetParam()}), reader({.transport = GetParam()});
  const auto prompt = tokens(38);
  Lender& l = *lender.node->lender();
  const auto promised = l.promise(38, digest_of(prompt.data(), 38), 0);
  const FetchId fetch = reader.node->borrower()->open(*read_params(promised.params).value().source, prompt);
  ASSERT_EQ(reader.next_news().kind, News::Kind::kGranted);
  EXPECT_TRUE(l.extend(promised.id, {7, 8, 9, 3}));
  l.publish(promised.id, 14, 14);
  std::vector<kv::BlockId> ours(10);
  std::iota(ours.begin(), ours.end(), 20);
  reader.node->borrower()->read(fetch, {0, 38, ours});
  l.rewind(promised.id);
  EXPECT_EQ(lender.back(), (std::vector<kv::BlockId>{3, 9, 8, 7}));
  EXPECT_EQ(reader.next_news().kind, News::Kind::kRewound);
  EXPECT_TRUE(l.extend(promised.id, kTheirs));
  lender.fill(38, kTheirs);
  l.publish(promised.id, 20, 20);
  l.fulfil(promised.id, 38, 38, 5, lender.clock.now());
  const News granted = reader.next_news();
  ASSERT_EQ(granted.kind, News::Kind::kGranted) << granted.error;
  EXPECT_FALSE(granted.growing);
  EXPECT_EQ(granted.next, 5);
  reader.node->borrower()->read(fetch, {0, 38, ours});
  ASSERT_EQ(reader.next_news().kind, News::Kind::kRead);
  for (std::int32_t p = 0; p < 38; ++p) EXPECT_TRUE(reader.has(p, ours)) << p;
}

TEST(Transfer, a_hold_that_grows_has_no_lease_until_it_is_whole) {
  Engine lender({});
  Lender& l = *lender.node->lender();
  const auto promised = l.promise(8, 1, 0);
  EXPECT_TRUE(l.extend(promised.id, {1, 2}));
  EXPECT_EQ(l.collect(lender.clock.now() + std::chrono::hours(1)).expired, 0);
  EXPECT_NE(l.fulfil(promised.id, 8, 8, 3, lender.clock.now()), "");
  EXPECT_EQ(l.collect(lender.clock.now() + std::chrono::hours(1)).blocks.size(), 2u);
  EXPECT_FALSE(l.extend(promised.id, {3}));
  EXPECT_EQ(l.fulfil(promised.id, 8, 8, 3, lender.clock.now()), "");
  std::vector<std::string> ids;
  for (std::int32_t i = 0; i < kBlocks; ++i) ids.push_back(l.promise(8, 1, 0).id);
  l.hold({{5}, 4, 4, 1}, lender.clock.now());
  EXPECT_EQ(std::ranges::count_if(ids, [&](const auto& id) { return !l.extend(id, {6}); }), 1) << "one without blocks has made way";
  for (const auto& id : ids) l.drop(id);
  EXPECT_EQ(l.collect(lender.clock.now()).blocks.size(), static_cast<std::size_t>(kBlocks - 1));
}

TEST(Transfer, a_reader_that_cannot_follow_is_not_granted_what_grows) {
  Engine lender({});
  const auto promised = lender.node->lender()->promise(8, 1, 0);
  auto connection = fabric::Connection::connect("127.0.0.1", lender.node->port(), "", {}, std::chrono::steady_clock::now() + kLong).value();
  ASSERT_TRUE(connection->receive(std::chrono::steady_clock::now() + kLong).ok());
  ASSERT_TRUE(connection->send(static_cast<std::uint8_t>(FrameType::kTake), request_json(promised.id)).ok());
  const auto frame = connection->receive(std::chrono::steady_clock::now() + kLong);
  ASSERT_TRUE(frame.ok());
  EXPECT_THAT(read_grant(frame->payload).value().refused, HasSubstr("cannot follow"));
}

TEST(Transfer, a_hold_ends_when_its_reader_ends_it_or_does_not_want_it) {
  Engine lender({}), reader({});
  const FetchId fetch = reader.node->borrower()->open(lender.lend(8, {1, 2}), tokens(8));
  EXPECT_EQ(reader.next_news().kind, News::Kind::kGranted);
  reader.node->borrower()->end(fetch);
  EXPECT_EQ(lender.back(), (std::vector<kv::BlockId>{2, 1})) << "the tail first";
  reader.node->borrower()->decline(lender.lend(8, {3, 4}));
  EXPECT_EQ(lender.back().size(), 2u);
  reader.node->borrower()->end(reader.node->borrower()->open(lender.lend(4, {5}), tokens(4)));
  EXPECT_EQ(lender.back().size(), 1u);
  EXPECT_TRUE(reader.waiting.empty());
}

TEST(Transfer, a_hold_ends_with_its_reader) {
  Engine lender({});
  {
    Engine reader({});
    reader.node->borrower()->open(lender.lend(8, {1, 2}), tokens(8));
    EXPECT_EQ(reader.next_news().kind, News::Kind::kGranted);
  }
  EXPECT_EQ(lender.back().size(), 2u);
}

TEST(Transfer, a_lease_without_a_sign_of_life_ends_and_then_nothing_is_granted) {
  Engine lender({}), reader({});
  const Source source = lender.lend(8, {1, 2});
  EXPECT_EQ(lender.node->lender()->collect(lender.clock.now()).expired, 0);
  const auto ended = lender.node->lender()->collect(lender.clock.now() + std::chrono::seconds(61));
  EXPECT_EQ(ended.expired, 1);
  EXPECT_EQ(ended.blocks.size(), 2u);
  reader.node->borrower()->open(source, tokens(8));
  const News news = reader.next_news();
  EXPECT_EQ(news.kind, News::Kind::kFailed);
  EXPECT_THAT(news.error, HasSubstr("no longer held"));
}

TEST(Transfer, a_reader_renews_the_lease) {
  Engine lender({.lease_seconds = 0.3}), reader({.lease_seconds = 0.3});
  const FetchId fetch = reader.node->borrower()->open(lender.lend(8, {1, 2}), tokens(8));
  ASSERT_EQ(reader.next_news().kind, News::Kind::kGranted);
  const TimePoint end = lender.clock.now() + std::chrono::seconds(1);
  // On a machine that stands still for longer than a lease it ends rightly; then the read says so.
  int expired = 0;
  while (lender.clock.now() < end) expired += lender.node->lender()->collect(lender.clock.now()).expired;
  reader.node->borrower()->read(fetch, {0, 8, {5, 6}});
  EXPECT_EQ(reader.next_news().kind, expired == 0 ? News::Kind::kRead : News::Kind::kFailed);
}

TEST(Transfer, blocks_that_were_given_to_others_are_noticed_after_the_read) {
  Engine lender({}), reader({});
  const FetchId fetch = reader.node->borrower()->open(lender.lend(8, {1, 2}), tokens(8));
  ASSERT_EQ(reader.next_news().kind, News::Kind::kGranted);
  lender.node->lender()->collect(lender.clock.now());  // notes that it was taken
  EXPECT_EQ(lender.node->lender()->collect(lender.clock.now() + std::chrono::hours(1)).expired, 1);
  lender.lend(8, {2, 1});
  reader.node->borrower()->read(fetch, {0, 8, {5, 6}});
  EXPECT_THAT(reader.next_news().error, HasSubstr("given to others"));
}

TEST(Transfer, only_the_same_prompt_is_granted) {
  Engine lender({}), reader({});
  auto other = tokens(8);
  other[3] = 999;
  reader.node->borrower()->open(lender.lend(8, {1, 2}), other);
  EXPECT_THAT(reader.next_news().error, HasSubstr("another prompt"));
  EXPECT_EQ(lender.back().size(), 2u) << "and the hold ends";
  reader.node->borrower()->open(lender.lend(8, {1, 2}), tokens(7));
  EXPECT_THAT(reader.next_news().error, HasSubstr("another prompt"));
}

TEST(Transfer, a_restarted_lender_is_recognised_at_once) {
  Engine reader({});
  auto first = std::make_unique<Engine>(Kind{});
  Source source = first->lend(8, {1, 2});
  first.reset();
  Engine second({});
  source.port = second.node->port();
  reader.node->borrower()->open(source, tokens(8));
  EXPECT_THAT(reader.next_news().error, HasSubstr("restarted"));
  // What it lends itself can be read.
  reader.node->borrower()->open(second.lend(8, {1, 2}), tokens(8));
  EXPECT_EQ(reader.next_news().kind, News::Kind::kGranted);
}

TEST(Transfer, a_lender_that_is_gone_fails_what_waits_for_it) {
  Engine reader({.lease_seconds = 0.3});
  auto lender = std::make_unique<Engine>(Kind{});
  const Source source = lender->lend(8, {1, 2});
  reader.node->borrower()->open(source, tokens(8));
  ASSERT_EQ(reader.next_news().kind, News::Kind::kGranted);
  lender.reset();
  EXPECT_EQ(reader.next_news().kind, News::Kind::kFailed) << "a renewal notices";
  reader.node->borrower()->open(source, tokens(8));
  EXPECT_THAT(reader.next_news().error, HasSubstr("cannot connect"));
}

TEST(Transfer, engines_need_the_same_secret_and_the_same_rows) {
  Engine lender({.secret = "word"}), stranger({.secret = "guess"}), other({.secret = "word"}, DType::kBF16);
  stranger.node->borrower()->open(lender.lend(8, {1, 2}), tokens(8));
  EXPECT_THAT(stranger.next_news().error, HasSubstr("kv_secret"));
  other.node->borrower()->open(lender.lend(8, {3, 4}), tokens(8));
  EXPECT_THAT(other.next_news().error, HasSubstr("data type"));
}

}  // namespace
}  // namespace braid::transfer
