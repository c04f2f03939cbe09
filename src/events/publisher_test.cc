// SPDX-License-Identifier: Apache-2.0
#include "events/publisher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "events/zmq.h"

namespace braid::events {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr Duration kLong = std::chrono::seconds(30);

std::vector<kv::CacheEvent> removal(std::uint8_t content) {
  prefix::BlockHash hash;
  hash.size = 16;
  hash.bytes[15] = content;
  return {kv::BlocksRemoved{{hash}}};
}

struct Subscriber {
  std::unique_ptr<Context> context = Context::create().value();
  std::unique_ptr<Socket> events = context->socket(SocketKind::kSubscribe, 0).value();
  std::unique_ptr<Socket> replay = context->socket(SocketKind::kDealer, 0).value();

  std::vector<std::string> next(Socket& socket) {
    const TimePoint deadline = std::chrono::steady_clock::now() + kLong;
    auto message = socket.receive();
    while (message.empty() && std::chrono::steady_clock::now() < deadline) {
      context->wait(&socket, -1, kLong);
      message = socket.receive();
    }
    return message;
  }
};

int content_of(const std::string& batch) { return nlohmann::json::from_msgpack(batch)[1][0][1][0]; }

std::string number(int last) { return std::string(7, '\0') + static_cast<char>(last); }

Settings loopback() {
  Settings s;
  s.enable_kv_cache_events = true;
  s.endpoint = "tcp://127.0.0.1:*";
  s.replay_endpoint = "tcp://127.0.0.1:*";
  s.topic = "kv@me@model";
  s.buffer_steps = 3;
  return s;
}

TEST(Publisher, what_a_subscriber_missed_it_can_ask_for) {
  const auto publisher = events::publisher(loopback(), 16, 0).value();
  Subscriber s;
  for (std::uint8_t i = 0; i < 5; ++i) publisher->publish(removal(i));
  ASSERT_TRUE(s.replay->connect(publisher->replay_endpoint()).ok());
  const std::string end(8, '\xff');
  // Batches are sent before or after the question; asking on is right in both cases.
  std::vector<std::string> answer;
  while (answer.size() < 3) {
    answer.clear();
    ASSERT_TRUE(s.replay->send({"", number(2)}));
    for (auto part = s.next(*s.replay); part.size() == 3 && part[1] != end; part = s.next(*s.replay)) {
      EXPECT_EQ(content_of(part[2]), part[1].back());
      answer.push_back(part[1]);
    }
  }
  EXPECT_THAT(answer, ElementsAre(number(2), number(3), number(4)));
  ASSERT_TRUE(s.replay->send({"", number(0)}));
  EXPECT_EQ(s.next(*s.replay)[1], number(2)) << "only the latest are kept";
}

TEST(Publisher, a_subscriber_gets_topic_number_and_batch) {
  const auto publisher = events::publisher(loopback(), 16, 0).value();
  Subscriber s;
  ASSERT_TRUE(s.events->subscribe("kv@").ok());
  ASSERT_TRUE(s.events->connect(publisher->endpoint()).ok());
  std::vector<std::string> first;
  for (std::uint8_t i = 0; i < 200 && first.empty(); ++i) {  // until the subscription has arrived
    publisher->publish(removal(i));
    s.context->wait(s.events.get(), -1, std::chrono::milliseconds(100));
    first = s.events->receive();
  }
  ASSERT_EQ(first.size(), 3u);
  EXPECT_EQ(first[0], "kv@me@model");
  EXPECT_EQ(first[1].size(), 8u);
  EXPECT_EQ(content_of(first[2]), first[1].back());
}

TEST(Publisher, ranks_have_addresses_of_their_own) {
  EXPECT_EQ(address_of("tcp://*:5557", 0).value(), "tcp://*:5557");
  EXPECT_EQ(address_of("tcp://*:5557", 3).value(), "tcp://*:5560");
  EXPECT_EQ(address_of("tcp://127.0.0.1:*", 3).value(), "tcp://127.0.0.1:*");
  EXPECT_EQ(address_of("ipc:///tmp/events", 3).value(), "ipc:///tmp/events_dp3");
  EXPECT_THAT(address_of("tcp://host", 1).error().message, HasSubstr("'tcp://host' has no port"));
}

TEST(Publisher, an_address_that_is_taken_is_an_error) {
  const auto first = events::publisher(loopback(), 16, 0).value();
  Settings again = loopback();
  again.replay_endpoint = first->replay_endpoint();
  EXPECT_THAT(events::publisher(again, 16, 0).error().message, HasSubstr("cannot listen at '" + first->replay_endpoint()));
}

}  // namespace
}  // namespace braid::events
