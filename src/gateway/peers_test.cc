// SPDX-License-Identifier: Apache-2.0
#include "gateway/peers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/testing/gateway_fixture.h"

namespace braid::gateway {
namespace {

using ::testing::HasSubstr;
using testing::eventually;
using testing::FakeEngine;

constexpr const char* kByRequests = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: active-request-scorer
)";

class PeersTest : public testing::GatewayFixture {
 protected:
  PeersTest() {
    settings_.peers = {"127.0.0.1:1"};  // nobody listens there
    settings_.peer_key = "word";
  }
  // As a router called `router` that has so many requests at an endpoint.
  net::ClientResponse tell(const std::string& router, const std::string& endpoint, int requests, const std::string& key = "word") {
    return fetch({.method = "POST", .target = std::string(kPeersPath), .headers = {{"authorization", "Bearer " + key}},
                  .body = R"({"router":")" + router + R"(","in_flight":[{"producer":"inflight-load-producer","endpoint":")" + endpoint +
                          R"(","requests":)" + std::to_string(requests) + R"(,"tokens":9}]})"});
  }
  std::string chosen() { return std::string(net::find_header(fetch({.method = "POST", .target = "/v1/completions", .body = R"({"model":"m","prompt":"x"})"}).headers, "x-engine")); }
};

TEST_F(PeersTest, WhoIsSilentCountsNoLonger) {
  FakeEngine a("a"), b("b");
  settings_.peer_interval_ms = 5;
  start({a.address(), b.address()}, kByRequests);
  wait_usable(2);
  EXPECT_EQ(tell("one", a.address(), 4).status, 200);
  EXPECT_EQ(tell("two", "10.0.0.1:1", 3).status, 200);
  EXPECT_TRUE(eventually([&] { return metric("braid_route_peers") == 0; }));
  EXPECT_EQ(metric("braid_route_peer_requests"), 0);
  EXPECT_TRUE(eventually([&] { return chosen() == "a"; }));
}

TEST_F(PeersTest, TheNewestOfEachRouterCounts) {
  FakeEngine a("a"), b("b");
  settings_.peer_interval_ms = 60000;
  start({a.address(), b.address()}, kByRequests);
  wait_usable(2);
  tell("one", a.address(), 4);
  tell("two", a.address(), 2);
  tell("two", b.address(), 5);
  EXPECT_EQ(metric("braid_route_peers"), 2);
  EXPECT_EQ(metric("braid_route_peer_requests"), 9);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(chosen(), "a");
}

TEST_F(PeersTest, StrangersAndNonsenseAreRefused) {
  FakeEngine a("a");
  start({a.address()}, kByRequests);
  EXPECT_EQ(tell("one", a.address(), 1, "other").status, 401);
  const auto negative = tell("one", a.address(), -1);
  EXPECT_EQ(negative.status, 400);
  EXPECT_THAT(negative.body, HasSubstr("same version"));
  for (const char* body : {"", "[]", R"({"router":1,"in_flight":[]})", R"({"router":"x","in_flight":[1]})", R"({"router":"x"})"}) {
    EXPECT_EQ(fetch({.method = "POST", .target = std::string(kPeersPath), .headers = {{"authorization", "Bearer word"}}, .body = body}).status, 400) << body;
  }
  EXPECT_EQ(metric("braid_route_peers"), 0);
}

TEST_F(PeersTest, OneRouterTellsAnotherAndItselfNothing) {
  FakeEngine a("a", [](net::Request& request, const FakeEngine::Writer&) { return request.body.find("hold") != std::string::npos; });
  start({a.address()}, kByRequests);
  RouteSettings settings = settings_;
  settings.peers = {"localhost:" + std::to_string(gateway_->port())};
  settings.peer_interval_ms = 5;
  auto config = router::parse_picker_config(kByRequests, "epp.yaml");
  auto other = Gateway::start(settings, *config, {});
  ASSERT_TRUE(other.ok()) << other.error().message;
  EXPECT_TRUE(eventually([&] { return metric("braid_route_peers") == 1; }));
  EXPECT_EQ(metric("braid_route_peer_requests"), 0);
}

TEST(PeersOptions, NeedAKeyAndPlaces) {
  RouteSettings settings;
  EXPECT_FALSE(Peers::options(settings)->has_value());
  settings.peers = {"a:1,b:2", "[::1]:3"};
  EXPECT_THAT(Peers::options(settings).error().message, HasSubstr("--peer-key"));
  settings.peer_key = "word";
  EXPECT_EQ((*Peers::options(settings))->names.size(), 3u);
  settings.peers = {"a"};
  EXPECT_THAT(Peers::options(settings).error().message, HasSubstr("'a' is not host:port"));
}

}  // namespace
}  // namespace braid::gateway
