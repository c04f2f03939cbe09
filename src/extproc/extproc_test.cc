// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include "extproc/client.h"
#include "extproc/server.h"
#include "extproc/wire.h"

namespace braid::extproc {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr Duration kPatience = std::chrono::seconds(60);

// Gives every body back in capital letters, and answers requests for "/no" itself.
class Shouting final : public Processor {
 public:
  Shouting(std::shared_ptr<Stream> stream, std::function<void()> closed) : stream_(std::move(stream)), closed_(std::move(closed)) {}
  void on_message(Message message) override {
    for (const auto& [name, value] : message.headers) {
      if (name == ":path" && value == "/no") return stream_->answer({.status = 429, .headers = {{"why", "no"}}, .body = "no!", .details = "said no"});
    }
    Reply reply{.part = message.part, .body = message.body, .end = message.end, .metadata = message.metadata};
    for (char& c : reply.body) c = static_cast<char>(std::toupper(c));
    stream_->reply({std::move(reply)});
  }
  void on_closed() override { closed_(); }

 private:
  const std::shared_ptr<Stream> stream_;
  const std::function<void()> closed_;
};

class ExtProcTest : public ::testing::Test {
 protected:
  void start(ServerOptions options = {}) {
    options.host = "127.0.0.1";
    auto started = Server::start(loop_, options, [this](std::shared_ptr<Stream> stream) {
      return std::make_shared<Shouting>(std::move(stream), [this] { closed_.set_value(); });
    });
    ASSERT_TRUE(started.ok()) << started.error().message;
    server_ = std::move(*started);
    client_ = Client::create("127.0.0.1:" + std::to_string(server_->port()), options.tls);
  }
  void wait_closed() { ASSERT_EQ(closed_.get_future().wait_for(kPatience), std::future_status::ready); }

  const std::shared_ptr<net::EventLoop> loop_ = std::make_shared<net::EventLoop>("test");
  std::promise<void> closed_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(ExtProcTest, PartsGoThereAndComeBackInOrder) {
  start();
  const auto stream = client_->open(kPatience);
  stream->send({.part = Part::kRequestHeaders, .headers = {{":path", "/v1"}}, .metadata = {{"envoy.lb", "one", {"a"}}, {"envoy.lb", "two", {"a", "b"}}}});
  stream->send({.part = Part::kRequestBody, .body = "hello "});
  stream->send({.part = Part::kRequestBody, .body = "you"});
  stream->send({.part = Part::kRequestTrailers});
  const auto headers = stream->next();
  ASSERT_TRUE(headers);
  EXPECT_EQ(headers->reply.part, Part::kRequestHeaders);
  ASSERT_EQ(headers->reply.metadata.size(), 2u);
  for (const Metadata& each : headers->reply.metadata) {
    EXPECT_EQ(each.space, "envoy.lb");
    EXPECT_EQ(each.values, each.key == "one" ? std::vector<std::string>{"a"} : (std::vector<std::string>{"a", "b"}));
  }
  EXPECT_EQ(stream->next()->reply.body, "HELLO ");
  EXPECT_EQ(stream->next()->reply.body, "YOU");
  EXPECT_EQ(stream->next()->reply.part, Part::kRequestTrailers);
  EXPECT_EQ(stream->close(), "");
  wait_closed();
}

TEST_F(ExtProcTest, AnAnswerEndsTheStream) {
  start();
  const auto stream = client_->open(kPatience);
  stream->send({.headers = {{":path", "/no"}}, .end = true});
  const auto told = stream->next();
  ASSERT_TRUE(told && told->is_answer);
  EXPECT_EQ(told->answer.status, 429);
  EXPECT_THAT(told->answer.headers, ElementsAre(Pair("why", "no")));
  EXPECT_EQ(told->answer.body, "no!");
  EXPECT_FALSE(stream->next().has_value());
  EXPECT_EQ(stream->close(), "");
  wait_closed();
}

TEST_F(ExtProcTest, AStreamThatBreaksOffIsClosed) {
  start();
  auto stream = client_->open(kPatience);
  stream->send({.headers = {{":path", "/v1"}}});
  ASSERT_TRUE(stream->next());
  stream.reset();
  wait_closed();
}

TEST_F(ExtProcTest, MoreThanCanWaitComesInParts) {
  start();
  const auto stream = client_->open(kPatience);
  const std::string piece(1 << 20, 'a');
  constexpr int kPieces = 24;
  std::thread sender([&] {
    for (int i = 0; i < kPieces; ++i) stream->send({.part = Part::kRequestBody, .body = piece, .end = i + 1 == kPieces});
  });
  for (int i = 0; i < kPieces; ++i) {
    const auto told = stream->next();
    ASSERT_TRUE(told);
    EXPECT_EQ(told->reply.body, std::string(1 << 20, 'A'));
    EXPECT_EQ(told->reply.end, i + 1 == kPieces);
  }
  sender.join();
  EXPECT_EQ(stream->close(), "");
}

TEST_F(ExtProcTest, HealthFollowsReadiness) {
  start();
  EXPECT_EQ(client_->health("liveness", kPatience), "SERVING");
  EXPECT_EQ(client_->health("readiness", kPatience), "NOT_SERVING");
  server_->set_ready(true);
  for (const char* service : {"", "readiness", "inference-extension", "envoy.service.ext_proc.v3.ExternalProcessor"}) {
    EXPECT_EQ(client_->health(service, kPatience), "SERVING") << service;
  }
  EXPECT_THAT(client_->health("nobody", kPatience), HasSubstr("unknown"));
  server_->set_ready(false);
  EXPECT_EQ(client_->health("", kPatience), "NOT_SERVING");
  EXPECT_EQ(client_->health("liveness", kPatience), "SERVING");
}

TEST_F(ExtProcTest, SpeaksTlsWithACertificateOfItsOwn) {
  start({.tls = true});
  const auto stream = client_->open(kPatience);
  stream->send({.part = Part::kResponseBody, .body = "x", .end = true});
  const auto told = stream->next();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->reply.body, "X");
}

TEST_F(ExtProcTest, APortInUseAndMissingCertificatesAreErrors) {
  start();
  const auto none = [](std::shared_ptr<Stream>) { return std::shared_ptr<Processor>(); };
  const auto taken = Server::start(loop_, {.host = "127.0.0.1", .port = server_->port()}, none);
  ASSERT_FALSE(taken.ok());
  EXPECT_THAT(taken.error().message, HasSubstr("in use"));
  const auto without = Server::start(loop_, {.host = "127.0.0.1", .tls = true, .certificates = "/nowhere"}, none);
  ASSERT_FALSE(without.ok());
  EXPECT_THAT(without.error().message, HasSubstr("/nowhere/tls.crt"));
}

TEST(ExtProcWire, AnEnvoyThatBuffersBodiesIsToldSo) {
  wire::ProcessingRequest request;
  request.mutable_request_headers();
  request.mutable_protocol_config()->set_request_body_mode(wire::ProtocolConfiguration::BUFFERED);
  const auto message = from_wire(request);
  ASSERT_FALSE(message.ok());
  EXPECT_THAT(message.error().message, HasSubstr("request_body_mode is BUFFERED; set it to FULL_DUPLEX_STREAMED"));
}

TEST(ExtProcWire, HeadersMayComeAsTextOrBytes) {
  wire::ProcessingRequest request;
  auto& old_form = *request.mutable_response_headers()->mutable_headers()->add_headers();
  old_form.set_key("a");
  old_form.set_value("1");
  auto& new_form = *request.mutable_response_headers()->mutable_headers()->add_headers();
  new_form.set_key("b");
  new_form.set_raw_value("2");
  const auto message = from_wire(request);
  ASSERT_TRUE(message.ok());
  EXPECT_THAT(message->headers, ElementsAre(Pair("a", "1"), Pair("b", "2")));
}

}  // namespace
}  // namespace braid::extproc
