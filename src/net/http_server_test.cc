// SPDX-License-Identifier: Apache-2.0
#include "net/http_server.h"

#include <gtest/gtest.h>

#include <future>
#include <mutex>
#include <thread>

#include "net/test_socket.h"

namespace braid::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// /echo answers with the body, /upload with one that streams, /held leaves it with the client, /stream sends what the test posts, /forever never ends.
class HttpServerTest : public testing::Test {
 protected:
  void start(HttpServerOptions options = {}) {
    auto listening = HttpServer::listen(options, [this](Request&& r, std::shared_ptr<ResponseWriter> w) {
      handle(std::move(r), std::move(w));
    });
    ASSERT_TRUE(listening.ok()) << listening.error().message;
    server_ = std::move(*listening);
  }
  void TearDown() override {
    if (!server_) return;
    server_->shutdown(milliseconds(0));
    stream_.reset();
    body_.reset();
    server_.reset();
  }
  static HttpServerOptions streaming() {
    HttpServerOptions options;
    options.max_body_bytes = 4;
    options.streams = [](const Request& head) { return head.method == "POST" && head.path() != "/echo"; };
    return options;
  }

  void handle(Request&& request, std::shared_ptr<ResponseWriter> writer) {
    if (request.stream && request.path() == "/upload") {
      auto body = std::make_shared<std::string>();
      request.stream->start([body](std::string_view data) { body->append(data); }, [body, writer] { writer->send({.body = "got " + *body + "."}); });
    } else if (request.stream) {
      writer->on_close([this] { closed_.set_value(); });
      body_ = std::move(request.stream);
      stream_ = std::move(writer);
      streaming_.set_value();
    } else if (request.path() == "/stream") {
      writer->on_close([this] { closed_.set_value(); });
      writer->begin({.content_type = "text/event-stream", .body = ""});
      stream_ = std::move(writer);
      streaming_.set_value();
    } else if (request.path() == "/forever") {
      writer->on_close([this] { closed_.set_value(); });
      stream_ = std::move(writer);
      streaming_.set_value();
    } else if (request.path() == "/forgotten") {
      return;
    } else if (request.path() == "/elsewhere") {
      std::thread([&writer] { writer->send({.body = "from another thread"}); }).join();
    } else {
      writer->send({.body = request.method + " " + request.target + " " + request.body});
    }
  }

  std::string exchange(std::string_view bytes) const {
    TestSocket socket(server_->port());
    socket.send(bytes);
    return socket.read_all();
  }
  void on_io(std::function<void()> work) const {
    std::promise<void> done;
    server_->post([&] {
      work();
      done.set_value();
    });
    done.get_future().wait();
  }
  bool closes() { return closed_.get_future().wait_for(seconds(20)) == std::future_status::ready; }

  std::unique_ptr<HttpServer> server_;
  std::shared_ptr<ResponseWriter> stream_;
  std::shared_ptr<BodyReader> body_;
  std::promise<void> streaming_;
  std::promise<void> closed_;
};

int count_of(const std::string& text, std::string_view what) {
  int n = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

TEST_F(HttpServerTest, AnswersAndKeepsTheConnection) {
  start();
  TestSocket socket(server_->port());
  for (int i = 0; i < 3; ++i) {
    socket.send("POST /echo?x=1 HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
    EXPECT_NE(socket.read_until("POST /echo?x=1 hi").find("200 OK"), std::string::npos);
  }
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
  start();
  auto got = exchange(
      "GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n"
      "GET /3 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
  auto one = got.find("GET /1 "), two = got.find("GET /2 "), three = got.find("GET /3 ");
  ASSERT_NE(three, std::string::npos) << got;
  EXPECT_LT(one, two);
  EXPECT_LT(two, three);
}

TEST_F(HttpServerTest, PipelinedRequestWaitsForTheStreamBeforeIt) {
  start();
  TestSocket socket(server_->port());
  socket.send("GET /stream HTTP/1.1\r\nhost: a\r\n\r\nGET /after HTTP/1.1\r\nhost: a\r\n\r\n");
  streaming_.get_future().wait();
  on_io([&] {
    stream_->write("one");
    stream_->write("two");
    stream_->end();
  });
  auto got = socket.read_until("GET /after ");
  EXPECT_NE(got.find("6\r\nonetwo\r\n0\r\n\r\nHTTP/1.1 200"), std::string::npos) << got;
}

TEST_F(HttpServerTest, BodiesThatStreamComeWholeAndTheConnectionIsKept) {
  start(streaming());
  TestSocket socket(server_->port());
  for (int i = 0; i < 2; ++i) {
    socket.send("POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n01234");
    socket.send("56789");
    EXPECT_NE(socket.read_until("got 0123456789.").find("200 OK"), std::string::npos);
    socket.send("POST /upload HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    socket.send("4\r\ndefg\r\n0\r\n\r\nPOST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
    EXPECT_NE(socket.read_until("POST /echo hi").find("got abcdefg."), std::string::npos);
  }
}

TEST_F(HttpServerTest, ABodyThatNobodyTakesStaysWithItsClient) {
  start(streaming());
  TestSocket socket(server_->port());
  constexpr std::size_t kLength = 24u << 20;
  socket.send("POST /held HTTP/1.1\r\nhost: a\r\ncontent-length: " + std::to_string(kLength) + "\r\n\r\n");
  streaming_.get_future().wait();
  std::thread sender([&] { socket.send(std::string(kLength, 'x')); });
  std::size_t taken = 0, paused_at = 0;
  std::promise<void> paused, ended;
  on_io([&] {
    EXPECT_EQ(body_->length(), kLength);
    body_->start([&](std::string_view data) {
      taken += data.size();
      if (paused_at != 0) return;
      body_->pause();
      paused_at = taken;
      paused.set_value();
    }, [&] { ended.set_value(); });
  });
  paused.get_future().wait();
  on_io([&] {
    EXPECT_LT(taken, 1u << 20);
    body_->resume();
  });
  ASSERT_EQ(ended.get_future().wait_for(seconds(20)), std::future_status::ready);
  sender.join();
  on_io([&] { stream_->send({.body = "all."}); });
  EXPECT_NE(socket.read_until("all.").find("200 OK"), std::string::npos);
  EXPECT_EQ(taken, kLength);
}

TEST_F(HttpServerTest, AnAnswerBeforeTheEndOfABodyEndsTheConnection) {
  start(streaming());
  TestSocket socket(server_->port());
  socket.send("POST /held HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nsome");
  streaming_.get_future().wait();
  on_io([&] { stream_->send({.status = 422, .body = "no."}); });
  const std::string got = socket.read_all();
  EXPECT_NE(got.find("connection: close"), std::string::npos) << got;
  EXPECT_TRUE(got.ends_with("no.")) << got;
}

TEST_F(HttpServerTest, AClientThatLeavesInTheMiddleOfABodyIsTold) {
  start(streaming());
  TestSocket socket(server_->port());
  socket.send("POST /held HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
  streaming_.get_future().wait();
  on_io([&] { body_->start([](std::string_view) {}, [] { FAIL() << "it has not ended"; }); });
  socket.close();
  EXPECT_TRUE(closes());
}

TEST_F(HttpServerTest, BodiesThatDoNotStreamAreStillLimited) {
  start(streaming());
  EXPECT_NE(exchange("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n01234").find(" 413 "), std::string::npos);
  EXPECT_NE(exchange("POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n\r\n").find(" 413 "), std::string::npos);
}

TEST_F(HttpServerTest, AnswersFromAnyThreadInOrder) {
  start();
  TestSocket socket(server_->port());
  socket.send("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n");
  streaming_.get_future().wait();
  for (const char* part : {"one", "two", "three"}) stream_->write(part);
  stream_->end();
  stream_.reset();
  std::string text;
  for (const char c : socket.read_until("0\r\n\r\n")) {
    if (std::isalpha(static_cast<unsigned char>(c))) text += c;
  }
  EXPECT_TRUE(text.ends_with("onetwothree")) << text;
}

TEST_F(HttpServerTest, AWriterDroppedOnAnotherThreadAnswers500) {
  start();
  TestSocket socket(server_->port());
  socket.send("GET /forever HTTP/1.1\r\nhost: a\r\n\r\n");
  streaming_.get_future().wait();
  stream_.reset();
  EXPECT_NE(socket.read_until("no answer\n").find(" 500 "), std::string::npos);
}

TEST_F(HttpServerTest, AWriterLetGoOfBeforeItsQueuedAnswerLeftStillSendsIt) {
  start();
  const std::string answer = exchange("GET /elsewhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_NE(answer.find(" 200 "), std::string::npos) << answer;
  EXPECT_NE(answer.find("from another thread"), std::string::npos) << answer;
}

TEST_F(HttpServerTest, ReadsChunkedBodies) {
  start();
  auto got = exchange(
      "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
      "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
  EXPECT_NE(got.find("POST /echo abcde"), std::string::npos);
}

TEST_F(HttpServerTest, RefusesWhatItCannotRead) {
  HttpServerOptions options;
  options.max_body_bytes = 100;
  options.max_header_bytes = 1000;
  options.max_headers = 10;
  start(options);
  std::string many;
  for (int i = 0; i < 11; ++i) many += "x" + std::to_string(i) + ": 1\r\n";
  struct Case {
    std::string bytes;
    const char* status;
  } cases[] = {
      {"nonsense\r\n\r\n", " 400 "},
      {"GET / HTTP/1.1\r\nbad header\r\n\r\n", " 400 "},
      {"GET / HTTP/7.1\r\nhost: a\r\n\r\n", " 505 "},
      {"not http at all\r\n\r\n", " 400 "},
      {"GET / HTTQ/1.1\r\n\r\n", " 400 "},
      {"GET / HTTP/x.y\r\n\r\n", " 400 "},
      {"POST / HTTP/1.1\r\ncontent-length: abc\r\n\r\n", " 400 "},
      {"POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", " 400 "},
      {"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", " 400 "},
      {"POST / HTTP/1.1\r\ncontent-length: 101\r\n\r\n", " 413 "},
      {"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n70\r\n" + std::string(112, 'x') + "\r\n", " 413 "},
      {"GET / HTTP/1.1\r\nlong: " + std::string(2000, 'x') + "\r\n\r\n", " 431 "},
      {"GET / HTTP/1.1\r\n" + many + "\r\n", " 431 "},
      {"POST / HTTP/1.1\r\nexpect: magic\r\ncontent-length: 3\r\n\r\n", " 417 "},
  };
  for (const Case& c : cases) {
    EXPECT_NE(exchange(c.bytes).find(c.status), std::string::npos) << c.bytes.substr(0, 80);
  }
}

TEST_F(HttpServerTest, AsksForTheBodyWhenTheClientExpectsTo) {
  start();
  TestSocket socket(server_->port());
  socket.send("POST /e HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n");
  EXPECT_EQ(socket.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  socket.send("ok");
  EXPECT_NE(socket.read_until("POST /e ok").find("200 OK"), std::string::npos);
}

TEST_F(HttpServerTest, HeadHasNoBody) {
  start();
  auto got = exchange("HEAD /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
  EXPECT_NE(got.find("content-length: 7"), std::string::npos) << got;
  EXPECT_EQ(got.substr(got.size() - 4), "\r\n\r\n");
}

TEST_F(HttpServerTest, Http10StreamEndsWithTheConnection) {
  start();
  TestSocket socket(server_->port());
  socket.send("GET /stream HTTP/1.0\r\n\r\n");
  streaming_.get_future().wait();
  on_io([&] {
    stream_->write("abc");
    stream_->end();
  });
  auto got = socket.read_all();
  EXPECT_EQ(got.substr(got.size() - 7), "\r\n\r\nabc") << got;
}

TEST_F(HttpServerTest, TellsWhenTheClientLeavesMidStream) {
  start();
  {
    TestSocket socket(server_->port());
    socket.send("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n");
    streaming_.get_future().wait();
  }
  EXPECT_TRUE(closes());
  on_io([&] { EXPECT_FALSE(stream_->open()); });
}

TEST_F(HttpServerTest, HalfClosingWhileWaitingCountsAsLeaving) {
  start();
  TestSocket socket(server_->port());
  socket.send("GET /forever HTTP/1.1\r\nhost: a\r\n\r\n");
  streaming_.get_future().wait();
  socket.half_close();
  EXPECT_TRUE(closes());
}

TEST_F(HttpServerTest, HalfClosingAfterTheRequestStillGetsAReadyAnswer) {
  start();
  TestSocket socket(server_->port());
  socket.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
  socket.half_close();
  EXPECT_NE(socket.read_all().find("GET /x"), std::string::npos);
}

TEST_F(HttpServerTest, DropsAClientThatDoesNotRead) {
  HttpServerOptions options;
  options.max_buffered_bytes = 1 << 20;
  start(options);
  TestSocket socket(server_->port());
  socket.send("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n");
  streaming_.get_future().wait();
  std::string block(256 << 10, 'x');
  bool open = true;
  for (int i = 0; i < 1000 && open; ++i) {
    on_io([&] {
      stream_->write(block);
      open = stream_->open();
    });
  }
  EXPECT_FALSE(open);
  EXPECT_TRUE(closes());
}

TEST_F(HttpServerTest, ClosesSlowAndIdleClients) {
  HttpServerOptions options;
  options.header_timeout = options.body_timeout = options.idle_timeout = milliseconds(40);
  start(options);
  EXPECT_NE(exchange("GET / HT").find(" 408 "), std::string::npos);
  EXPECT_NE(exchange("POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\nab").find(" 408 "), std::string::npos);
  EXPECT_EQ(exchange(""), "");
}

TEST_F(HttpServerTest, RefusesMoreConnectionsThanItsLimit) {
  HttpServerOptions options;
  options.max_connections = 1;
  start(options);
  TestSocket first(server_->port());
  first.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
  first.read_until("GET /x");
  EXPECT_NE(exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").find(" 503 "), std::string::npos);
}

TEST_F(HttpServerTest, AForgottenRequestIsAnswered500) {
  start();
  EXPECT_NE(exchange("GET /forgotten HTTP/1.1\r\nconnection: close\r\n\r\n").find(" 500 "), std::string::npos);
}

TEST_F(HttpServerTest, ShutdownLetsAStreamEndAndRefusesNewConnections) {
  start();
  TestSocket socket(server_->port()), idle(server_->port());
  socket.send("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n");
  streaming_.get_future().wait();
  auto down = std::async(std::launch::async, [&] { server_->shutdown(seconds(60)); });
  EXPECT_EQ(idle.read_all(), "");
  on_io([&] {
    stream_->write("last");
    stream_->end();
  });
  auto got = socket.read_all();
  EXPECT_EQ(count_of(got, "4\r\nlast\r\n0\r\n\r\n"), 1) << got;
  socket.close();
  down.wait();
  EXPECT_FALSE(TestSocket(server_->port()).connected());
}

TEST_F(HttpServerTest, ShutdownEndsWhatDoesNotEndByItself) {
  start();
  TestSocket socket(server_->port());
  socket.send("GET /forever HTTP/1.1\r\nhost: a\r\n\r\n");
  streaming_.get_future().wait();
  server_->shutdown(milliseconds(1));
  EXPECT_TRUE(closes());
  EXPECT_EQ(server_->connections(), 0);
}

TEST(HttpServer, SaysWhyItCannotListen) {
  auto ignore = [](Request&&, std::shared_ptr<ResponseWriter>) {};
  auto first = HttpServer::listen({}, ignore);
  ASSERT_TRUE(first.ok());
  HttpServerOptions same;
  same.port = (*first)->port();
  auto second = HttpServer::listen(same, ignore);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message.find("can't listen on 127.0.0.1:"), std::string::npos);
}

}  // namespace
}  // namespace braid::net
