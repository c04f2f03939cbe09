// SPDX-License-Identifier: Apache-2.0
#include "gateway/gateway.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <mutex>

#include "gateway/testing/gateway_fixture.h"
#include "net/test_socket.h"

namespace braid::gateway {
namespace {

using ::testing::HasSubstr;
using testing::eventually;
using testing::FakeEngine;
using testing::kStreamed;

class GatewayTest : public testing::GatewayFixture {
 protected:
  bool ready() { return get("/readyz").status == 200; }
  void wait_ready() { ASSERT_TRUE(eventually([this] { return ready(); })); }
  net::ClientResponse post(std::string body, std::vector<net::Header> headers = {}) {
    return fetch({.method = "POST", .target = "/v1/completions", .headers = std::move(headers), .body = std::move(body)});
  }
};

constexpr const char* kAsk = R"({"model":"m","prompt":"hello"})";
constexpr const char* kAskStream = R"({"model":"m","prompt":"hello","stream":true})";

bool refuse(net::Request& request, const FakeEngine::Writer& writer) {
  writer->send({.status = 503, .body = "{\"error\":\"busy\"}"});
  return true;
}
bool drop(net::Request&, const FakeEngine::Writer& writer) {
  writer->abort();
  return true;
}

TEST_F(GatewayTest, BringsARequestToAnEndpointAndItsAnswerBack) {
  FakeEngine engine("a");
  start({engine.address()});
  wait_ready();
  const auto answer = post(kAsk, {{"authorization", "Bearer k"}, {"x-request-id", "mine"}});
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "{\"model\":\"m\",\"engine\":\"a\"}");
  EXPECT_EQ(net::find_header(answer.headers, "x-engine"), "a");
  EXPECT_EQ(net::find_header(answer.headers, "x-request-id"), "mine");
  const net::Request seen = engine.requests().at(0);
  EXPECT_EQ(seen.body, kAsk);
  EXPECT_EQ(seen.header("authorization"), "Bearer k");
  EXPECT_EQ(seen.header("x-forwarded-for"), "127.0.0.1");
}

TEST_F(GatewayTest, MetricsHaveTheirFormerNamesTooWhenAsked) {
  FakeEngine engine("a");
  settings_.old_metric_names = true;
  start({engine.address()});
  wait_ready();
  ASSERT_EQ(post(kAsk).status, 200);
  EXPECT_EQ(metric("inference_pool_ready_pods"), 1);
  EXPECT_EQ(metric("inference_pool_average_queue_size"), metric("llm_d_epp_average_queue_size"));
  EXPECT_EQ(metric("inference_objective_request_total"), metric("llm_d_epp_request_total"));
  EXPECT_THAT(get("/metrics").body, HasSubstr("inference_pool_per_pod_queue_size{model_server_pod=\"" + engine.address() + "\"} 0.0"));
  EXPECT_THAT(get("/metrics").body, HasSubstr("# TYPE inference_extension_scheduler_attempts_total counter"));
}

TEST_F(GatewayTest, StreamsComeByteForByte) {
  FakeEngine engine("a");
  start({engine.address()});
  wait_ready();
  const auto answer = post(kAskStream);
  EXPECT_EQ(answer.body, kStreamed);
  EXPECT_EQ(net::find_header(answer.headers, "content-type"), "text/event-stream; charset=utf-8");
}

TEST_F(GatewayTest, HeadersThatOnlyARouterMaySetDoNotPass) {
  FakeEngine engine("a");
  start({engine.address()});
  wait_ready();
  post(kAsk, {{"X-Prefiller-Host-Port", "10.0.0.1:1"}, {"x-data-parallel-rank", "3"}, {"te", "trailers"}, {"connection", "x-mine"}, {"x-mine", "1"}});
  const net::Request seen = engine.requests().at(0);
  for (const char* name : {"x-prefiller-host-port", "x-data-parallel-rank", "te", "x-mine"}) EXPECT_EQ(seen.header(name), "") << name;
}

TEST_F(GatewayTest, NamesTheRankBehindASharedPort) {
  FakeEngine engine("a");
  engine.set_metrics("vllm:num_requests_waiting{engine=\"3\"} 0\n");
  start({engine.address() + "@3"});
  wait_ready();
  post(kAsk);
  EXPECT_EQ(engine.requests().at(0).header("x-data-parallel-rank"), "3");
}

TEST_F(GatewayTest, AnEndpointThatDropsRequestsCostsNoAnswer) {
  FakeEngine bad("bad", drop), good("good");
  start({bad.address(), good.address()});
  wait_usable(2);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(post(kAsk).body, "{\"model\":\"m\",\"engine\":\"good\"}");
}

TEST_F(GatewayTest, AnEndpointThatIsGoneIsLeftOutUntilItComesBack) {
  FakeEngine a("a"), b("b");
  start({a.address(), b.address()});
  wait_usable(2);
  a.die();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(post(kAsk).body, "{\"model\":\"m\",\"engine\":\"b\"}");
  wait_usable(1);
  a.come_back();
  wait_usable(2);
}

TEST_F(GatewayTest, WhatAnEndpointHasNotBegunOutlivesIt) {
  constexpr std::size_t kRequests = 24;
  FakeEngine a("a", [](net::Request&, const FakeEngine::Writer& writer) {
    writer->on_close([writer] {});  // kept until then
    return true;
  });
  FakeEngine b("b");
  b.set_metrics("vllm:num_requests_waiting 9\nvllm:num_requests_running 90\nvllm:kv_cache_usage_perc 0.9\n");
  start({a.address(), b.address()});
  wait_usable(2);
  std::vector<std::future<net::ClientResponse>> answers;
  for (std::size_t i = 0; i < kRequests; ++i) {
    answers.push_back(std::async(std::launch::async, [this] {
      auto got = net::HttpClient::create("127.0.0.1", gateway_->port())->fetch({.method = "POST", .target = "/v1/completions", .headers = {}, .body = kAsk});
      return got.ok() ? *got : net::ClientResponse{};
    }));
  }
  ASSERT_TRUE(eventually([&] { return a.requests().size() + b.requests().size() == kRequests && !a.requests().empty(); }));
  a.die();
  for (auto& answer : answers) EXPECT_EQ(answer.get().body, "{\"model\":\"m\",\"engine\":\"b\"}");
}

TEST_F(GatewayTest, LongBodiesThatNoDecisionLooksAtGoThroughWhole) {
  FakeEngine a("a"), b("b");
  start({a.address(), b.address()});
  wait_usable(2);
  a.die();
  const std::string body(4u << 20, 'x');
  const auto answer = fetch({.method = "POST", .target = "/v1/files", .headers = {}, .body = body});
  EXPECT_EQ(answer.status, 200);
  ASSERT_EQ(b.requests().size(), 1u);
  EXPECT_EQ(b.requests().front().body, body);
  EXPECT_EQ(b.requests().front().header("content-length"), std::to_string(body.size()));
}

TEST_F(GatewayTest, AnEndpointThatCannotServeNowIsPassedOver) {
  FakeEngine busy("busy", refuse), free("free");
  start({busy.address(), free.address()});
  wait_usable(2);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(post(kAsk).status, 200);
}

TEST_F(GatewayTest, WhenNoneCanServeTheClientGetsWhatTheLastOneSaid) {
  FakeEngine a("a", refuse), b("b", refuse);
  start({a.address(), b.address()});
  wait_usable(2);
  const auto answer = post(kAsk);
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.body, "{\"error\":\"busy\"}");
  EXPECT_EQ(a.requests().size() + b.requests().size(), 2u);
}

constexpr const char* kQueues = R"(
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl]
plugins: [{type: queue-scorer}]
)";

bool shuts_down(net::Request&, const FakeEngine::Writer& writer) {
  writer->send({.status = 503, .headers = {{"x-llm-d-request-dropped-reason", "rejected-shutting-down"}}, .body = "{\"error\":\"leaving\"}"});
  return true;
}

TEST_F(GatewayTest, ARequestForTheLastEngineThatLeavesWaitsForTheNext) {
  int asked = 0;
  FakeEngine engine("a", [&](net::Request& request, const FakeEngine::Writer& writer) { return asked++ == 0 && shuts_down(request, writer); });
  engine.set_metrics("process_start_time_seconds 1\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0\n");
  start({engine.address()}, kQueues);
  wait_usable(1);
  auto answer = std::async(std::launch::async, [this] {
    return net::HttpClient::create("127.0.0.1", gateway_->port())->fetch({.method = "POST", .target = "/v1/completions", .body = kAsk});
  });
  ASSERT_TRUE(eventually([this] { return metric("llm_d_epp_flow_control_queue_size") == 1; }));
  EXPECT_EQ(metric("llm_d_epp_ready_endpoints"), 0);
  engine.die();
  engine.set_metrics("process_start_time_seconds 2\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0\n");
  engine.come_back();
  const auto got = answer.get();
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(got->status, 200);
  EXPECT_EQ(engine.requests().size(), 2u);
  EXPECT_EQ(metric("braid_route_retries_total"), 1);
}

TEST_F(GatewayTest, ARequestThatTheLastEngineDropsWaitsUntilOneAnswersAgain) {
  int asked = 0;
  FakeEngine engine("a", [&](net::Request& request, const FakeEngine::Writer& writer) { return asked++ == 0 && drop(request, writer); });
  start({engine.address()}, kQueues);
  wait_usable(1);
  EXPECT_EQ(post(kAsk).status, 200);
  EXPECT_EQ(engine.requests().size(), 2u);
}

TEST_F(GatewayTest, AnEngineThatSaysThatItLeavesGetsNoMoreWhateverItsMetricsAnswer) {
  FakeEngine leaving("leaving", shuts_down), other("other");
  other.set_metrics("vllm:num_requests_waiting 50\nvllm:kv_cache_usage_perc 0.9\n");
  leaving.set_metrics("process_start_time_seconds 1\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0\n");
  start({leaving.address(), other.address()});
  wait_usable(2);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(post(kAsk).status, 200);
  EXPECT_EQ(leaving.requests().size(), 1u);
  EXPECT_EQ(metric("llm_d_epp_ready_endpoints"), 1);
  leaving.set_metrics("process_start_time_seconds 2\nvllm:num_requests_waiting 0\nvllm:kv_cache_usage_perc 0\n");
  wait_usable(2);
}

TEST_F(GatewayTest, WithoutAnEndpointTheAnswerIs503AndSaysWhenToTryAgain) {
  FakeEngine engine("a");
  start({engine.address()});
  wait_ready();
  engine.die();
  const auto answer = post(kAsk);
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(net::find_header(answer.headers, "retry-after"), "1");
  EXPECT_EQ(net::find_header(answer.headers, "x-llm-d-request-dropped-reason"), "rejected-no-endpoints");
  EXPECT_THAT(answer.body, HasSubstr("\"code\":503"));
  EXPECT_TRUE(eventually([this] { return !ready(); }));
}

TEST_F(GatewayTest, AnAnswerThatBreaksOffEndsWithAnErrorEvent) {
  FakeEngine engine("a", [](net::Request&, const FakeEngine::Writer& writer) {
    writer->begin({.content_type = "text/event-stream", .body = "data: {\"half\"\n\n"});
    writer->on_drained([writer] { writer->abort(); });
    return true;
  });
  start({engine.address()});
  wait_ready();
  const auto answer = post(kAskStream);
  EXPECT_THAT(answer.body, HasSubstr("data: {\"half\"\n\ndata: {\"error\":{\"message\":\"the answer broke off"));
  EXPECT_EQ(engine.requests().size(), 1u);
}

TEST_F(GatewayTest, AClientThatLeavesEndsTheRequestAtTheEndpoint) {
  std::promise<void> started, left;
  FakeEngine::Writer kept;
  FakeEngine engine("a", [&](net::Request&, const FakeEngine::Writer& writer) {
    writer->on_close([&] { left.set_value(); });
    writer->begin({.content_type = "text/event-stream", .body = "data: 1\n\n"});
    kept = writer;
    return true;
  });
  start({engine.address()});
  wait_ready();
  {
    net::TestSocket socket(gateway_->port());
    const std::string body = kAskStream;
    socket.send("POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    socket.read_until("data: 1");
  }
  EXPECT_EQ(left.get_future().wait_for(testing::kPatience), std::future_status::ready);
  EXPECT_TRUE(eventually([this] { return metric("braid_route_client_disconnects_total") == 1; }));
  kept.reset();
}

TEST_F(GatewayTest, AnEndpointIsReadNoFasterThanTheClientReads) {
  constexpr std::size_t kMoreThanFits = 40u << 20;
  std::promise<void> drained;
  FakeEngine::Writer kept;
  std::promise<void> written;
  FakeEngine engine("a", [&](net::Request&, const FakeEngine::Writer& writer) {
    writer->begin({.content_type = "text/event-stream"});
    writer->write(std::string(kMoreThanFits, 'x'));
    writer->on_drained([&, writer] {
      drained.set_value();
      writer->end();
    });
    written.set_value();
    return true;
  });
  start({engine.address()});
  wait_ready();
  net::TestSocket socket(gateway_->port());
  const std::string body = kAskStream;
  socket.send("POST /v1/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  written.get_future().wait();
  socket.read_until("\r\n\r\n");
  auto all_sent = drained.get_future();
  EXPECT_NE(all_sent.wait_for(Duration::zero()), std::future_status::ready);
  EXPECT_GT(socket.read_all().size(), kMoreThanFits);
  EXPECT_EQ(all_sent.wait_for(testing::kPatience), std::future_status::ready);
}

TEST_F(GatewayTest, ABodyThatIsNoRequestIsRefusedBeforeAnyEndpoint) {
  FakeEngine engine("a");
  start({engine.address()});
  wait_ready();
  const auto answer = post("{\"model\":");
  EXPECT_EQ(answer.status, 400);
  EXPECT_THAT(answer.body, HasSubstr("\"param\":\"body\""));
  EXPECT_TRUE(engine.requests().empty());
}

TEST_F(GatewayTest, WhatControlsAnEngineIsNotReachable) {
  FakeEngine engine("a");
  start({engine.address()});
  wait_ready();
  for (const char* path : {"/scale_elastic_ep", "/sleep", "/", "/v1", "/metrics/../sleep"}) {
    EXPECT_EQ(fetch({.method = "POST", .target = path, .body = "{}"}).status, 404) << path;
  }
  EXPECT_EQ(get("/v1/models").status, 200);
  EXPECT_EQ(engine.requests().size(), 1u);
}

TEST_F(GatewayTest, TellsWhyARequestWentWhereItWent) {
  FakeEngine a("a"), b("b");
  start({a.address(), b.address()});
  wait_usable(2);
  const auto answer = post(kAsk, {{"x-braid-explain", "1"}, {"x-request-id", "why"}});
  EXPECT_THAT(std::string(net::find_header(answer.headers, "x-braid-explain")), HasSubstr("\"queue-scorer\""));
  const auto kept = get("/debug/decisions/why");
  EXPECT_EQ(kept.status, 200);
  EXPECT_THAT(kept.body, HasSubstr("{\"id\":\"why\",\"decisions\":[{"));
  EXPECT_EQ(get("/debug/decisions/other").status, 404);
}

TEST_F(GatewayTest, LoadedEndpointsGetLess) {
  FakeEngine loaded("loaded"), idle("idle");
  loaded.set_metrics("vllm:num_requests_waiting 9\nvllm:num_requests_running 90\nvllm:kv_cache_usage_perc 0.9\n");
  start({loaded.address(), idle.address()});
  wait_usable(2);
  ASSERT_TRUE(eventually([&] { return metric("llm_d_epp_average_queue_size") == 4.5; }));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(post(kAsk).body, "{\"model\":\"m\",\"engine\":\"idle\"}");
}

constexpr const char* kRewrite = R"(apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: random-picker
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: random-picker
---
kind: InferenceModelRewrite
metadata:
  name: alias
spec:
  rules:
  - matches:
    - model:
        type: Exact
        value: alias
    targets:
    - modelRewrite: m
)";

TEST_F(GatewayTest, ARewrittenModelKeepsItsNameForTheClient) {
  FakeEngine engine("a");
  start({engine.address()}, kRewrite);
  wait_ready();
  EXPECT_EQ(post(R"({"model":"alias","prompt":"x"})").body, "{\"model\":\"alias\",\"engine\":\"a\"}");
  EXPECT_EQ(engine.requests().at(0).body, R"({"model":"m","prompt":"x"})");
  EXPECT_THAT(post(R"({"model":"alias","prompt":"x","stream":true})").body, HasSubstr("{\"model\":\"alias\",\"choices\":[{\"text\":\"one\"}]}"));
}

TEST_F(GatewayTest, DrainingLetsAnswersEndAndRefusesFurtherRequests) {
  std::promise<FakeEngine::Writer> asked;
  FakeEngine engine("a", [&](net::Request& request, const FakeEngine::Writer& writer) {
    if (request.body.find("slow") == std::string::npos) return false;
    asked.set_value(writer);
    return true;
  });
  start({engine.address()});
  wait_ready();
  auto slow = std::async(std::launch::async, [&] { return post(R"({"model":"m","prompt":"slow"})"); });
  auto writer = asked.get_future().get();
  auto drained = std::async(std::launch::async, [&] { gateway_->drain(testing::kPatience); });
  ASSERT_TRUE(eventually([&] { return !net::TestSocket(gateway_->port()).connected(); }));
  writer->send({.body = "{}"});
  EXPECT_EQ(slow.get().body, "{}");
  drained.wait();
}

constexpr const char* kDivided = R"(apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: prefill-filter
- type: decode-filter
- type: random-picker
- type: always-disagg-pd-decider
- type: disagg-profile-handler
  parameters:
    deciders:
      prefill: always-disagg-pd-decider
    onMissingPrefill: fail
schedulingProfiles:
- name: prefill
  plugins:
  - pluginRef: prefill-filter
  - pluginRef: random-picker
- name: decode
  plugins:
  - pluginRef: decode-filter
  - pluginRef: random-picker
)";

bool answer_prefill(net::Request& request, const FakeEngine::Writer& writer) {
  writer->send({.body = R"({"kv_transfer_params":{"do_remote_prefill":true,"remote_block_ids":[1,2]},"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4}}})"});
  return true;
}

TEST_F(GatewayTest, PrefillsOnOneEndpointAndDecodesOnAnother) {
  FakeEngine prefill("p", answer_prefill), decode("d");
  start({prefill.address() + ";role=prefill", decode.address() + ";role=decode"}, kDivided);
  wait_usable(2);
  const auto answer = post(R"({"model":"m","prompt":"x","max_tokens":50,"stream":true})");
  EXPECT_EQ(answer.body, kStreamed);
  const net::Request first = prefill.requests().at(0), second = decode.requests().at(0);
  EXPECT_THAT(first.body, HasSubstr(R"("max_tokens":1)"));
  EXPECT_THAT(first.body, HasSubstr(R"("do_remote_decode":true)"));
  EXPECT_EQ(second.body, R"({"model":"m","prompt":"x","max_tokens":50,"stream":true,"kv_transfer_params":{"do_remote_prefill":true,"remote_block_ids":[1,2]}})");
  EXPECT_NE(first.header("x-request-id"), "");
  EXPECT_EQ(first.header("x-request-id"), second.header("x-request-id"));
}

// A prefill server that tells early where its blocks are, and answers when the test wants.
struct EarlyPrefill {
  FakeEngine engine{"p", [this](net::Request& request, const FakeEngine::Writer& writer) {
    EXPECT_THAT(request.body, HasSubstr("\"early\":true"));
    {
      std::lock_guard lock(mutex);
      writers.push_back(writer);
    }
    writer->early({{"x-kv-transfer-params", R"({"from":"early","remote_cached_tokens":3})"}});
    return true;
  }};
  std::mutex mutex;
  std::vector<FakeEngine::Writer> writers;
  void answer(net::Response response) {
    std::lock_guard lock(mutex);
    for (auto& writer : std::exchange(writers, {})) writer->send(response);
  }
};

TEST_F(GatewayTest, DecodingBeginsWhileThePrefillRuns) {
  EarlyPrefill prefill;
  FakeEngine decode("d", [](net::Request&, const FakeEngine::Writer& writer) {
    writer->send({.body = R"({"usage":{"prompt_tokens_details":{"cached_tokens":8}}})"});
    return true;
  });
  start({prefill.engine.address() + ";role=prefill", decode.address() + ";role=decode"}, kDivided);
  wait_usable(2);
  const auto answer = post(kAsk);
  EXPECT_EQ(answer.body, R"({"usage":{"prompt_tokens_details":{"cached_tokens":3}}})");
  EXPECT_THAT(decode.requests().at(0).body, HasSubstr(R"("kv_transfer_params":{"from":"early","remote_cached_tokens":3})"));
  EXPECT_EQ(metric("braid_route_prefills_total"), 1);
}

TEST_F(GatewayTest, WhatTheDecodeServerCannotReadBecauseThePrefillFailsIsThePrefillsError) {
  EarlyPrefill prefill;
  FakeEngine decode("d", [](net::Request&, const FakeEngine::Writer& writer) {
    writer->send({.status = 500, .body = "cannot be read"});
    return true;
  });
  start({prefill.engine.address() + ";role=prefill", decode.address() + ";role=decode"}, kDivided);
  wait_usable(2);
  for (const int status : {503, 400}) {
    auto asked = std::async(std::launch::async, [&] { return post(kAsk); });
    const std::size_t before = decode.requests().size();
    ASSERT_TRUE(eventually([&] { return decode.requests().size() > before; }));
    prefill.answer({.status = status, .body = "prefill's"});
    const auto answer = asked.get();
    EXPECT_EQ(answer.status, status);
    EXPECT_THAT(answer.body, HasSubstr("prefill"));
  }
}

TEST_F(GatewayTest, WhatTheDecodeServerCouldNotReadEarlyIsReadWhenThePrefillHasEnded) {
  EarlyPrefill prefill;
  FakeEngine decode("d", [](net::Request& request, const FakeEngine::Writer& writer) {
    if (request.body.find("early") == std::string::npos) return false;
    writer->send({.status = 500, .body = "cannot be read"});
    return true;
  });
  start({prefill.engine.address() + ";role=prefill", decode.address() + ";role=decode"}, kDivided);
  wait_usable(2);
  auto asked = std::async(std::launch::async, [&] { return post(kAsk); });
  ASSERT_TRUE(eventually([&] { return decode.requests().size() == 1; }));
  prefill.answer({.body = R"({"kv_transfer_params":{"from":"whole"}})"});
  EXPECT_EQ(asked.get().status, 200);
  EXPECT_THAT(decode.requests().at(1).body, HasSubstr(R"("kv_transfer_params":{"from":"whole"})"));
}

TEST_F(GatewayTest, APrefillerThatFailsIsReplacedByAnother) {
  FakeEngine bad("bad", refuse), good("good", answer_prefill), decode("d");
  start({bad.address() + ";role=prefill", good.address() + ";role=prefill", decode.address()}, kDivided);
  wait_usable(3);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(post(kAsk).status, 200);
  EXPECT_EQ(decode.requests().size(), 10u);
}

TEST_F(GatewayTest, WithoutAPrefillerNothingIsDecodedInSilence) {
  FakeEngine bad("bad", drop), decode("d");
  start({bad.address() + ";role=prefill", decode.address()}, kDivided);
  wait_usable(2);
  const auto answer = post(kAsk);
  EXPECT_EQ(answer.status, 503);
  EXPECT_NE(net::find_header(answer.headers, "retry-after"), "");
  EXPECT_TRUE(decode.requests().empty());
}

}  // namespace
}  // namespace braid::gateway
