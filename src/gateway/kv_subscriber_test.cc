// SPDX-License-Identifier: Apache-2.0
#include "gateway/kv_subscriber.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "events/publisher.h"
#include "router/kv_events.h"

namespace braid::gateway {
namespace {

constexpr Duration kLong = std::chrono::seconds(30);

int port_of(const std::string& address) { return std::stoi(address.substr(address.rfind(':') + 1)); }

std::vector<kv::CacheEvent> removal(std::uint8_t content) {
  prefix::BlockHash hash;
  hash.size = 16;
  hash.bytes[15] = content;
  return {kv::BlocksRemoved{{hash}}};
}

// A publisher, a subscriber that dials it and a feed that follows.
class Followed {
 public:
  Followed() {
    events::Settings settings;
    settings.enable_kv_cache_events = true;
    settings.endpoint = settings.replay_endpoint.emplace("tcp://127.0.0.1:*");
    publisher = events::publisher(settings, 16, 0).value();
  }

  void start() {
    const router::KvFeedSettings settings{"", "kv@", port_of(publisher->endpoint()), port_of(publisher->replay_endpoint())};
    feed = std::make_unique<router::KvFeed>(settings, router::KvFeed::Sink{
        [this](const std::string& source, const router::KvEventBatch& batch) {
          for (const auto& event : batch.events) seen.push_back(source + std::to_string(std::get<router::BlockRemoved>(event).hashes[0]));
        },
        [](const std::string&) {}});
    subscriber = KvSubscriber::start(settings, [this](std::vector<KvMessage> messages) { take(messages); }).value();
    subscriber->follow({{"a", "127.0.0.1", 8000, 0}});
  }

  // Publishes until something arrives, since a subscription takes a moment to reach the publisher, then waits for the
  // rest: a replay may come in several deliveries.
  std::vector<std::string> publish_until_seen(std::uint8_t& next) {
    const TimePoint deadline = std::chrono::steady_clock::now() + kLong;
    std::unique_lock lock(mutex);
    while (seen.empty() && std::chrono::steady_clock::now() < deadline) {
      publisher->publish(removal(next++));
      changed.wait_for(lock, std::chrono::milliseconds(20), [this] { return !seen.empty(); });
    }
    changed.wait_until(lock, deadline, [&] { return seen.size() >= next; });
    return seen;
  }

  void take(const std::vector<KvMessage>& messages) {
    const std::lock_guard lock(mutex);
    const TimePoint now = std::chrono::steady_clock::now();
    for (const KvMessage& message : messages) {
      const std::span payload(reinterpret_cast<const std::uint8_t*>(message.payload.data()), message.payload.size());
      if (message.kind == KvMessage::Kind::kLive) feed->on_message(message.source, message.sequence, payload, now);
      if (message.kind == KvMessage::Kind::kReplayed) feed->on_replayed(message.source, message.sequence, payload);
      if (message.kind == KvMessage::Kind::kReplayEnd) feed->on_replay_end(message.source);
    }
    for (const auto& request : feed->take_replays(now)) subscriber->replay(request);
    changed.notify_all();
  }

  std::unique_ptr<events::Publisher> publisher;
  std::unique_ptr<router::KvFeed> feed;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> seen;
  std::unique_ptr<KvSubscriber> subscriber;
};

TEST(KvSubscriber, who_connects_late_gets_everything_from_the_beginning) {
  Followed followed;
  std::uint8_t next = 0;
  for (; next < 5;) followed.publisher->publish(removal(next++));
  followed.start();
  const std::vector<std::string> seen = followed.publish_until_seen(next);
  ASSERT_GE(seen.size(), 6u);
  for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], "a" + std::to_string(i));
  EXPECT_EQ(followed.feed->counts().lost_messages, 0u);
}

TEST(KvSubscriber, a_replay_that_nobody_answers_ends) {
  std::mutex mutex;
  std::condition_variable ended;
  bool done = false;
  const router::KvFeedSettings settings{"", "kv@", 1, 1};
  const auto subscriber = KvSubscriber::start(settings, [&](std::vector<KvMessage> messages) {
                            const std::lock_guard lock(mutex);
                            done = messages.front().kind == KvMessage::Kind::kReplayEnd && messages.front().source == "gone";
                            ended.notify_all();
                          }).value();
  subscriber->replay({"gone", 0});
  std::unique_lock lock(mutex);
  EXPECT_TRUE(ended.wait_for(lock, kLong, [&] { return done; }));
}

}  // namespace
}  // namespace braid::gateway
