// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <nlohmann/json.hpp>

#include "net/http_server.h"
#include "tracing/otlp.h"
#include "tracing/tracer.h"

namespace braid::tracing {
namespace {

using Json = nlohmann::json;

constexpr const char* kParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

TEST(TraceParent, IsReadAndWritten) {
  const auto context = parse_traceparent(kParent);
  ASSERT_TRUE(context);
  EXPECT_EQ(context->trace, "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(context->span, "b7ad6b7169203331");
  EXPECT_TRUE(context->sampled);
  EXPECT_EQ(traceparent(*context), kParent);
}

TEST(TraceParent, OfALaterVersionIsReadAsFarAsItIsKnown) {
  const auto context = parse_traceparent("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more");
  ASSERT_TRUE(context);
  EXPECT_FALSE(context->sampled);
}

TEST(TraceParent, ThatIsNoneBeginsATrace) {
  for (const char* header : {"", "nonsense", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                             "00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
                             "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
                             "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"}) {
    EXPECT_FALSE(parse_traceparent(header)) << header;
  }
}

TEST(NewContext, StaysInItsParentsTraceAndDecision) {
  const auto parent = parse_traceparent(kParent);
  const Context child = new_context(parent, 0);
  EXPECT_EQ(child.trace, parent->trace);
  EXPECT_NE(child.span, parent->span);
  EXPECT_TRUE(child.sampled);
  EXPECT_FALSE(new_context(std::nullopt, 0).sampled);
  EXPECT_TRUE(parse_traceparent(traceparent(new_context(std::nullopt, 1))));
}

// A collector that answers with `status` and keeps what it got.
class Collector {
 public:
  explicit Collector(int status) : status_(status) {
    auto listening = net::HttpServer::listen({}, [this](net::Request&& request, std::shared_ptr<net::ResponseWriter> writer) {
      writer->send({.status = status_, .body = "{}"});
      got_.set_value(std::move(request));
    });
    server_ = std::move(*listening);
  }
  std::string endpoint() const { return "http://127.0.0.1:" + std::to_string(server_->port()); }
  net::Request request() { return got_.get_future().get(); }

 private:
  const int status_;
  std::promise<net::Request> got_;
  std::unique_ptr<net::HttpServer> server_;
};

TEST(Tracer, ExportsSpansWithTheirParentsAndAttributes) {
  Collector collector(200);
  Metrics metrics;
  auto tracer = Tracer::start({.endpoint = collector.endpoint()}, "test", metrics);
  ASSERT_TRUE(tracer.ok()) << tracer.error().message;
  const TimePoint now = std::chrono::steady_clock::now();
  Span root = (*tracer)->root("request", kParent, now);
  Span child = Tracer::child(root, "part", Kind::kClient, now);
  child.set("text", std::string("a"));
  child.set("whole", std::int64_t{7});
  child.error = "it failed";
  const std::string root_id = root.context.span;
  (*tracer)->end(std::move(child), now + std::chrono::milliseconds(5));
  (*tracer)->end(std::move(root), now + std::chrono::milliseconds(9));
  tracer->reset();
  const net::Request got = collector.request();
  EXPECT_EQ(got.target, "/v1/traces");
  const Json sent = Json::parse(got.body)["resourceSpans"][0];
  EXPECT_EQ(sent["resource"]["attributes"][0]["value"]["stringValue"], "test");
  const Json spans = sent["scopeSpans"][0]["spans"];
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0]["parentSpanId"], root_id);
  EXPECT_EQ(spans[0]["kind"], 3);
  EXPECT_EQ(spans[0]["attributes"][1]["value"]["intValue"], "7");
  EXPECT_EQ(spans[0]["status"]["message"], "it failed");
  EXPECT_EQ(spans[1]["parentSpanId"], "b7ad6b7169203331");
  EXPECT_EQ(spans[1]["traceId"], spans[0]["traceId"]);
  const auto length = std::stoll(spans[1]["endTimeUnixNano"].get<std::string>()) - std::stoll(spans[1]["startTimeUnixNano"].get<std::string>());
  EXPECT_EQ(length, 9'000'000);
  EXPECT_EQ(metrics.exported.value(), 2);
}

TEST(Tracer, CountsWhatTheCollectorRefuses) {
  Collector collector(500);
  Metrics metrics;
  auto tracer = Tracer::start({.endpoint = collector.endpoint()}, "test", metrics);
  ASSERT_TRUE(tracer.ok());
  (*tracer)->end((*tracer)->root("request", "", {}), {});
  tracer->reset();
  EXPECT_EQ(metrics.dropped.with({"refused"}).value(), 1);
}

TEST(Tracer, SendsNothingOfTracesThatAreNotSampled) {
  Metrics metrics;
  auto tracer = Tracer::start({.endpoint = "http://127.0.0.1:1", .ratio = 0}, "test", metrics);
  ASSERT_TRUE(tracer.ok());
  (*tracer)->end((*tracer)->root("request", "", {}), {});
  tracer->reset();
  EXPECT_EQ(metrics.dropped.with({"unreachable"}).value(), 0);
}

TEST(Tracer, IsNoneWithoutACollectorAndRefusesWhatIsNoUrl) {
  Metrics metrics;
  EXPECT_EQ(*Tracer::start({}, "test", metrics), nullptr);
  const auto refused = Tracer::start({.endpoint = "https://collector:4318"}, "test", metrics);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, ::testing::HasSubstr("--otlp-traces-endpoint"));
}

}  // namespace
}  // namespace braid::tracing
