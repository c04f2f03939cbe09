// SPDX-License-Identifier: Apache-2.0
#include "fabric/connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace braid::fabric {
namespace {

using testing::HasSubstr;

TimePoint in(Duration d) { return std::chrono::steady_clock::now() + d; }
constexpr Duration kLong = std::chrono::seconds(30);

TEST(Connection, CarriesFramesBothWays) {
  auto listener = Listener::open("127.0.0.1", 0, "secret").value();
  std::thread peer([&] {
    auto c = Connection::connect("127.0.0.1", listener->port(), "secret", "rank 1", in(kLong)).value();
    const std::string large(3 << 20, 'x');
    ASSERT_TRUE(c->send(7, large).ok());
    EXPECT_EQ(c->receive(in(kLong))->payload, "back");
  });
  auto accepted = listener->accept(in(kLong)).value();
  EXPECT_EQ(accepted.hello, "rank 1");
  const Frame frame = accepted.connection->receive(in(kLong)).value();
  EXPECT_EQ(frame.type, 7);
  EXPECT_EQ(frame.payload.size(), std::size_t{3 << 20});
  ASSERT_TRUE(accepted.connection->send(8, "back").ok());
  peer.join();
  EXPECT_THAT(accepted.connection->receive(in(kLong)).error().message, HasSubstr("closed"));
}

TEST(Connection, APeerWithoutTheSecretIsNotLetIn) {
  auto listener = Listener::open("127.0.0.1", 0, "secret").value();
  auto stranger = Connection::connect("127.0.0.1", listener->port(), "guess", "rank 1", in(kLong)).value();
  auto friendly = Connection::connect("127.0.0.1", listener->port(), "secret", "rank 2", in(kLong)).value();
  EXPECT_EQ(listener->accept(in(kLong))->hello, "rank 2");
  EXPECT_FALSE(stranger->receive(in(kLong)).ok());
}

TEST(Connection, WaitsEndInErrorsThatNameTheAddress) {
  auto listener = Listener::open("127.0.0.1", 0, "secret").value();
  EXPECT_THAT(listener->accept(in(std::chrono::milliseconds(1))).error().message, HasSubstr("port " + std::to_string(listener->port())));
  const int port = listener->port();
  listener.reset();
  EXPECT_THAT(Connection::connect("127.0.0.1", port, "s", "", in(std::chrono::milliseconds(1))).error().message,
              HasSubstr("cannot connect to 127.0.0.1:" + std::to_string(port)));
  EXPECT_THAT(Listener::open("no.such.host.invalid", 1, "s").error().message, HasSubstr("'no.such.host.invalid'"));
}

}  // namespace
}  // namespace braid::fabric
