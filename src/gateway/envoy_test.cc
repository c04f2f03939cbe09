// SPDX-License-Identifier: Apache-2.0
#include "gateway/envoy_exchange.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "extproc/client.h"
#include "gateway/testing/gateway_fixture.h"

namespace braid::gateway {
namespace {

using extproc::Part;
using extproc::Told;
using ::testing::HasSubstr;
using testing::eventually;
using testing::FakeEngine;
using testing::kPatience;

int free_port() {
  const auto probe = net::HttpServer::listen({}, [](net::Request&&, const auto&) {});
  return (*probe)->port();
}

std::string value(const extproc::Headers& headers, std::string_view name) { return std::string(router::find_header(headers, name)); }

constexpr const char* kAsk = R"({"model":"m","prompt":"hello"})";

class EnvoyTest : public testing::GatewayFixture {
 protected:
  void start(const std::vector<std::string>& endpoints, const std::string& yaml = "") {
    settings_.http.max_body_mib = 2;
    settings_.grpc_port = free_port();
    settings_.grpc_health_port = free_port();
    settings_.secure_serving = false;
    GatewayFixture::start(endpoints, yaml);
    envoy_ = extproc::Client::create("127.0.0.1:" + std::to_string(settings_.grpc_port));
  }
  std::unique_ptr<extproc::ClientStream> ask(std::string body = kAsk, extproc::Headers headers = {}, std::vector<extproc::Metadata> metadata = {}) {
    auto stream = envoy_->open(kPatience);
    extproc::Headers all = {{":method", "POST"}, {":path", "/v1/completions"}, {":authority", "x"}};
    all.insert(all.end(), headers.begin(), headers.end());
    stream->send({.part = Part::kRequestHeaders, .headers = std::move(all), .metadata = std::move(metadata)});
    stream->send({.part = Part::kRequestBody, .body = std::move(body), .end = true});
    return stream;
  }

  std::unique_ptr<extproc::Client> envoy_;
};

TEST_F(EnvoyTest, TellsTheEndpointInAHeaderAndInMetadata) {
  FakeEngine engine("a");
  start({engine.address()});
  wait_usable(1);
  const auto stream = ask(kAsk, {{"x-prefiller-host-port", "6.6.6.6:1"}, {"x-mine", "1"}});
  const auto head = stream->next();
  ASSERT_TRUE(head && !head->is_answer);
  const extproc::Reply& reply = head->reply;
  EXPECT_EQ(value(reply.set, "x-gateway-destination-endpoint"), engine.address());
  EXPECT_EQ(value(reply.set, "content-length"), std::to_string(std::string_view(kAsk).size()));
  EXPECT_NE(value(reply.set, "x-request-id"), "");
  EXPECT_EQ(reply.remove, std::vector<std::string>{"x-prefiller-host-port"});
  EXPECT_TRUE(reply.route_again);
  ASSERT_EQ(reply.metadata.size(), 1u);
  EXPECT_EQ(reply.metadata[0].space, "envoy.lb");
  EXPECT_EQ(reply.metadata[0].key, "x-gateway-destination-endpoint");
  EXPECT_EQ(reply.metadata[0].values, std::vector<std::string>{engine.address()});
  const auto body = stream->next();
  ASSERT_TRUE(body);
  EXPECT_EQ(body->reply.part, Part::kRequestBody);
  EXPECT_EQ(body->reply.body, kAsk);
  EXPECT_TRUE(body->reply.end);
}

TEST_F(EnvoyTest, ALongBodyComesBackInPiecesThatGatewaysTake) {
  FakeEngine engine("a");
  start({engine.address()});
  wait_usable(1);
  const std::string prompt = R"({"model":"m","prompt":")" + std::string(1 << 20, 'x') + R"("})";
  const auto stream = ask(prompt);
  ASSERT_TRUE(stream->next());
  std::string got;
  for (bool end = false; !end;) {
    const auto piece = stream->next();
    ASSERT_TRUE(piece);
    EXPECT_LE(piece->reply.body.size(), 62000u);
    got += piece->reply.body;
    end = piece->reply.end;
  }
  EXPECT_EQ(got, prompt);
}

TEST_F(EnvoyTest, AnAnswerPassesAndItsUsageIsCounted) {
  FakeEngine engine("a");
  start({engine.address()});
  wait_usable(1);
  const auto stream = ask();
  stream->next();
  stream->next();
  EXPECT_EQ(metric("llm_d_epp_request_running"), 1);
  stream->send({.part = Part::kResponseHeaders, .headers = {{":status", "200"}}});
  const auto head = stream->next();
  ASSERT_TRUE(head);
  EXPECT_NE(value(head->reply.set, "x-request-id"), "");
  for (const std::string& text : {std::string("data: {}\n\n"), std::string("data: {\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\n")}) {
    stream->send({.part = Part::kResponseBody, .body = text});
    const auto piece = stream->next();
    ASSERT_TRUE(piece);
    EXPECT_EQ(piece->reply.body, text);
    EXPECT_FALSE(piece->reply.end);
  }
  stream->send({.part = Part::kResponseTrailers});
  EXPECT_EQ(stream->next()->reply.part, Part::kResponseTrailers);
  EXPECT_EQ(stream->close(), "");
  EXPECT_EQ(metric("llm_d_epp_request_running"), 0);
  EXPECT_EQ(metric("llm_d_epp_request_input_tokens_sum"), 7);
}

TEST_F(EnvoyTest, AModelThatIsRewrittenIsRenamedBothWays) {
  FakeEngine engine("a");
  start({engine.address()}, R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: queue-scorer}]
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: r}
spec: {rules: [{matches: [{model: {value: m}}], targets: [{modelRewrite: longer-name}]}]}
)");
  wait_usable(1);
  const auto stream = ask();
  const auto head = stream->next();
  const auto body = stream->next();
  EXPECT_EQ(body->reply.body, R"({"model":"longer-name","prompt":"hello"})");
  EXPECT_EQ(value(head->reply.set, "content-length"), std::to_string(body->reply.body.size()));
  stream->send({.part = Part::kResponseHeaders, .headers = {{":status", "200"}, {"content-length", "23"}}});
  EXPECT_EQ(stream->next()->reply.remove, std::vector<std::string>{"content-length"});
  stream->send({.part = Part::kResponseBody, .body = R"({"model":"longer-name"})", .end = true});
  const auto answer = stream->next();
  EXPECT_EQ(answer->reply.body, R"({"model":"m"})");
  EXPECT_TRUE(answer->reply.end);
}

TEST_F(EnvoyTest, AHintLimitsTheEndpoints) {
  FakeEngine one("a"), two("b");
  start({one.address(), two.address()});
  wait_usable(2);
  for (FakeEngine* only : {&one, &two, &one}) {
    const auto stream = ask(kAsk, {}, {{"envoy.lb.subset_hint", "x-gateway-destination-endpoint-subset", {only->address()}}});
    EXPECT_EQ(value(stream->next()->reply.set, "x-gateway-destination-endpoint"), only->address());
  }
}

TEST_F(EnvoyTest, ARequestThatAFallbackServedIsCountedThere) {
  FakeEngine one("a"), two("b");
  start({one.address(), two.address()}, R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins: [{type: queue-scorer}, {type: max-score-picker, parameters: {maxNumOfEndpoints: 2}}]
)");
  wait_usable(2);
  const auto stream = ask();
  const std::string both = value(stream->next()->reply.set, "x-gateway-destination-endpoint");
  stream->next();
  const std::string second = both.substr(both.find(',') + 1);
  stream->send({.part = Part::kResponseHeaders, .headers = {{":status", "200"}}, .end = true,
                .metadata = {{"envoy.lb", "x-gateway-destination-endpoint-served", {second}}}});
  ASSERT_TRUE(stream->next());
  EXPECT_EQ(stream->close(), "");
  EXPECT_EQ(metric("braid_route_retries_total"), 1);
  EXPECT_EQ(metric("llm_d_epp_request_running"), 0);
}

TEST_F(EnvoyTest, RefusalsAreAnsweredAtOnce) {
  start({});
  const auto nobody = ask()->next();
  ASSERT_TRUE(nobody && nobody->is_answer);
  EXPECT_EQ(nobody->answer.status, 503);
  EXPECT_EQ(value(nobody->answer.headers, "x-llm-d-request-dropped-reason"), "rejected-no-endpoints");
  EXPECT_EQ(value(nobody->answer.headers, "retry-after"), "1");
  const auto wrong = ask("no json")->next();
  ASSERT_TRUE(wrong && wrong->is_answer);
  EXPECT_EQ(wrong->answer.status, 400);
  const auto large = ask(std::string(3 << 20, 'x'))->next();
  ASSERT_TRUE(large && large->is_answer);
  EXPECT_EQ(large->answer.status, 413);
}

TEST_F(EnvoyTest, ARequestWithoutABodyIsDecidedToo) {
  FakeEngine engine("a");
  start({engine.address()});
  wait_usable(1);
  const auto stream = envoy_->open(kPatience);
  stream->send({.headers = {{":method", "GET"}, {":path", "/v1/models"}}, .end = true});
  const auto head = stream->next();
  ASSERT_TRUE(head);
  EXPECT_EQ(value(head->reply.set, "x-gateway-destination-endpoint"), engine.address());
  EXPECT_EQ(value(head->reply.set, "content-length"), "");
}

TEST_F(EnvoyTest, ARequestThatWaitsEndsWithItsStream) {
  FakeEngine engine("a");
  engine.set_metrics("vllm:num_requests_waiting 100\nvllm:kv_cache_usage_perc 0.5\n");
  start({engine.address()}, R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl]
plugins: [{type: queue-scorer}]
)");
  wait_usable(1);
  auto stream = ask();
  ASSERT_TRUE(eventually([&] { return metric("llm_d_epp_flow_control_queue_size") == 1; }));
  stream.reset();
  ASSERT_TRUE(eventually([&] { return metric("llm_d_epp_flow_control_queue_size") == 0; }));
  EXPECT_EQ(metric("braid_route_client_disconnects_total"), 1);
  stream = ask();
  ASSERT_TRUE(eventually([&] { return metric("llm_d_epp_flow_control_queue_size") == 1; }));
  engine.set_metrics("vllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0.5\n");
  const auto head = stream->next();
  ASSERT_TRUE(head && !head->is_answer);
}

TEST_F(EnvoyTest, HealthOnItsOwnPortFollowsTheEndpoints) {
  FakeEngine engine("a");
  start({engine.address()});
  const auto probe = extproc::Client::create("127.0.0.1:" + std::to_string(settings_.grpc_health_port));
  ASSERT_TRUE(eventually([&] { return probe->health("readiness", kPatience) == "SERVING"; }));
  engine.die();
  ASSERT_TRUE(eventually([&] { return envoy_->health("", kPatience) == "NOT_SERVING"; }));
  EXPECT_EQ(probe->health("liveness", kPatience), "SERVING");
}

}  // namespace
}  // namespace braid::gateway
