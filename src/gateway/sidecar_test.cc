// SPDX-License-Identifier: Apache-2.0
#include "gateway/sidecar.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "gateway/divided_request.h"
#include "gateway/testing/fake_engine.h"
#include "net/http_client.h"

namespace braid::gateway {
namespace {

using ::testing::HasSubstr;
using testing::FakeEngine;

constexpr const char* kAnswer =
    R"({"id":"p","kv_transfer_params":{"remote_host":"h","remote_block_ids":[[1,2],[3]]},"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4}}})";
constexpr const char* kAsk = R"({"model": "m", "prompt": "x", "max_tokens": 50, "stream": true, "stream_options": {"include_usage": true}})";

bool prefills(net::Request&, const FakeEngine::Writer& writer) {
  writer->send({.body = kAnswer});
  return true;
}
bool decodes(net::Request&, const FakeEngine::Writer& writer) {
  writer->send({.body = R"({"text":"y","usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":8}}})"});
  return true;
}
bool refuses(net::Request&, const FakeEngine::Writer& writer) {
  writer->send({.status = 503, .body = "later"});
  return true;
}

class SidecarTest : public ::testing::Test {
 protected:
  void start(const FakeEngine& decoder) {
    settings_.http.host = "127.0.0.1";
    settings_.http.access_log = false;
    settings_.port = 0;
    settings_.model_server_port = decoder.port();
    settings_.prefill_retry_backoff_ms = 1;
    auto started = Sidecar::start(settings_);
    ASSERT_TRUE(started.ok()) << started.error().message;
    sidecar_ = std::move(*started);
    client_ = net::HttpClient::create("127.0.0.1", sidecar_->ports().at(0));
  }
  net::ClientResponse post(std::vector<net::Header> headers, std::string target = "/v1/completions", std::string body = kAsk) {
    auto got = client_->fetch({.method = "POST", .target = std::move(target), .headers = std::move(headers), .body = std::move(body)});
    EXPECT_TRUE(got.ok()) << got.error().message;
    return got.ok() ? *got : net::ClientResponse{};
  }
  static net::Header prefillers(const std::string& list) { return {"x-prefiller-host-port", list}; }

  SidecarSettings settings_;
  std::unique_ptr<Sidecar> sidecar_;
  std::unique_ptr<net::HttpClient> client_;
};

TEST_F(SidecarTest, PrefillsWhereTheHeaderSaysAndDecodesHere) {
  FakeEngine prefiller("p", prefills), decoder("d", decodes);
  settings_.allowed_prefillers = {"127.0.0.1"};
  start(decoder);
  const auto answer = post({prefillers(prefiller.address())});
  EXPECT_EQ(answer.body, R"({"text":"y","usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4}}})");
  const net::Request first = prefiller.requests().at(0), second = decoder.requests().at(0);
  EXPECT_EQ(first.body,
            R"({"model":"m","prompt":"x","max_tokens":1,"stream":false,"kv_transfer_params":{"do_remote_decode":true,"do_remote_prefill":false,)"
            R"("remote_engine_id":null,"remote_block_ids":null,"remote_host":null,"remote_port":null,"early":true}})");
  EXPECT_EQ(second.body,
            R"({"model":"m","prompt":"x","max_tokens":50,"stream":true,"stream_options":{"include_usage": true},)"
            R"("kv_transfer_params":{"remote_host":"h","remote_block_ids":[[1,2],[3]]}})");
  EXPECT_NE(first.header("x-request-id"), "");
  EXPECT_EQ(first.header("x-request-id"), second.header("x-request-id"));
  EXPECT_EQ(second.header("x-prefiller-host-port"), "");
}

TEST_F(SidecarTest, DecodingBeginsWhileThePrefillRuns) {
  FakeEngine::Writer held;
  FakeEngine prefiller("p", [&](net::Request&, const FakeEngine::Writer& writer) {
    writer->early({{"x-kv-transfer-params", R"({"from":"early"})"}});
    held = writer;
    return true;
  });
  FakeEngine decoder("d", decodes);
  settings_.allowed_prefillers = {"127.0.0.1"};
  start(decoder);
  EXPECT_EQ(post({prefillers(prefiller.address())}).status, 200);
  EXPECT_THAT(decoder.requests().at(0).body, HasSubstr(R"("kv_transfer_params":{"from":"early"})"));
  held.reset();
}

TEST_F(SidecarTest, WithoutTheHeaderEverythingPassesThrough) {
  FakeEngine decoder("d");
  start(decoder);
  EXPECT_EQ(post({{"x-data-parallel-rank", "1"}}, "/v1/completions", kAsk).status, 200);
  EXPECT_EQ(decoder.requests().at(0).body, kAsk);
  EXPECT_EQ(decoder.requests().at(0).header("x-data-parallel-rank"), "1");
  EXPECT_EQ(client_->fetch({.target = "/metrics"})->status, 200);
}

TEST_F(SidecarTest, PrefillersThatAreNotAllowedAreNeverCalled) {
  FakeEngine prefiller("p", prefills), decoder("d");
  start(decoder);
  const auto answer = post({prefillers(prefiller.address())});
  EXPECT_EQ(answer.status, 403);
  EXPECT_THAT(answer.body, HasSubstr("\"message\":\"Forbidden: prefill target not allowed by SSRF protection\""));
  EXPECT_TRUE(prefiller.requests().empty());
  EXPECT_TRUE(decoder.requests().empty());
}

TEST(AllowList, KnowsTheAddressesOfNamesAndHeedsPorts) {
  net::EventLoop loop("allow-list");
  auto list = std::make_unique<AllowList>(loop, std::vector<std::string>{"localhost:7", "10.0.0.1", "[fd00::1]:8", "fd00::2"}, std::chrono::seconds(5));
  const auto allows = [&](const char* host, int port) {
    bool answer = false;
    loop.run_and_wait([&] { answer = list->allows({host, port}); });
    return answer;
  };
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!allows("127.0.0.1", 7) && std::chrono::steady_clock::now() < end) std::this_thread::yield();
  EXPECT_TRUE(allows("127.0.0.1", 7));
  EXPECT_FALSE(allows("127.0.0.1", 8));
  EXPECT_TRUE(allows("10.0.0.1", 9));
  EXPECT_FALSE(allows("10.0.0.2", 9));
  EXPECT_TRUE(allows("fd00::1", 8));
  EXPECT_FALSE(allows("fd00::1", 9));
  EXPECT_TRUE(allows("fd00::2", 9));
  loop.run_and_wait([&] { list.reset(); });
}

TEST_F(SidecarTest, AnotherPrefillerOfTheListIsTriedWhenOneFails) {
  FakeEngine bad("bad", refuses), good("good", prefills), decoder("d");
  settings_.allowed_prefillers = {"127.0.0.1"};
  start(decoder);
  EXPECT_EQ(post({prefillers(bad.address() + "," + good.address())}).status, 200);
  EXPECT_EQ(bad.requests().size(), 1u);
  EXPECT_EQ(good.requests().size(), 1u);
}

TEST_F(SidecarTest, TheOnlyPrefillerIsTriedAgainAndThenItsAnswerGoesToTheClient) {
  FakeEngine bad("bad", refuses), decoder("d");
  settings_.allowed_prefillers = {bad.address()};
  start(decoder);
  const auto answer = post({prefillers(bad.address())});
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.body, "later");
  EXPECT_EQ(bad.requests().size(), 2u);
  EXPECT_TRUE(decoder.requests().empty());
}

TEST_F(SidecarTest, APrefillerThatIsNotThereIs503WithRetryAfter) {
  FakeEngine prefiller("p"), decoder("d");
  settings_.allowed_prefillers = {"127.0.0.1"};
  start(decoder);
  prefiller.die();
  const auto answer = post({prefillers(prefiller.address())});
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(net::find_header(answer.headers, "retry-after"), "1");
  EXPECT_TRUE(decoder.requests().empty());
}

TEST_F(SidecarTest, ADecoderThatIsNotThereIs503) {
  FakeEngine decoder("d");
  start(decoder);
  decoder.die();
  const auto answer = post({});
  EXPECT_EQ(answer.status, 503);
  EXPECT_THAT(answer.body, HasSubstr("\"type\":\"ServiceUnavailable\""));
}

TEST_F(SidecarTest, MalformedRequestsAre400) {
  FakeEngine decoder("d");
  settings_.allowed_prefillers = {"127.0.0.1"};
  start(decoder);
  EXPECT_EQ(post({prefillers("nonsense")}).status, 400);
  EXPECT_EQ(post({prefillers("127.0.0.1:9")}, "/v1/completions", "[]").status, 400);
  EXPECT_EQ(post({{"x-data-parallel-host-port", "127.0.0.1:1"}}).status, 400);
}

}  // namespace
}  // namespace braid::gateway
