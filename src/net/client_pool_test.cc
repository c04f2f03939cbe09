// SPDX-License-Identifier: Apache-2.0
#include "net/client_pool.h"

#include <gtest/gtest.h>

#include <future>

#include "net/http_server.h"
#include "net/test_socket.h"

namespace braid::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t kMoreThanTheKernelTakes = 24u << 20;

struct Answer {
  int status = 0;
  std::string early;
  std::string body;
  Status end;
};

// Server and pool on one loop. /echo answers with method and body, /never not at all, /stream is left to the test.
class ClientPoolTest : public testing::Test {
 protected:
  void SetUp() override {
    serve(0);
    loop_->run_and_wait([this] { pool_ = ClientPool::create(loop_, {.max_idle = 4}); });
  }
  void TearDown() override {
    loop_->run_and_wait([this] { pool_.reset(); });
    kept_.reset();
    server_.reset();
  }

  void serve(int port) {
    auto listening = HttpServer::listen({.port = port, .max_buffered_bytes = 64 << 20}, [this](Request&& r, std::shared_ptr<ResponseWriter> w) {
      if (r.path() == "/early") w->early({{"x-early", "1"}});
      if (r.path() == "/early") w->early({{"x-early", "2"}});
      if (r.path() == "/echo" || r.path() == "/early") return w->send({.body = r.method + " " + r.body});
      w->on_close([this] { client_gone_.set_value(); });
      if (r.path() == "/stream") w->begin({.content_type = "text/event-stream"});
      kept_ = std::move(w);
      asked_.set_value();
    }, loop_);
    ASSERT_TRUE(listening.ok()) << listening.error().message;
    server_ = std::move(*listening);
  }

  PoolRequest request(std::string method, std::string target, std::string_view body = {}) const {
    PoolRequest request;
    request.host = "127.0.0.1";
    request.port = server_->port();
    request.method = std::move(method);
    request.target = std::move(target);
    request.body = body;
    return request;
  }

  std::future<Answer> start(PoolRequest request) {
    auto answer = std::make_shared<Answer>();
    auto done = std::make_shared<std::promise<Answer>>();
    ClientHandlers handlers{.on_early = [answer](const auto& headers) { answer->early += find_header(headers, "x-early"); },
                            .on_head = [answer](int status, const auto&) { answer->status = status; },
                            .on_data = [answer](std::string_view data) { answer->body += data; },
                            .on_done = [answer, done](Status end) {
                              answer->end = std::move(end);
                              done->set_value(*answer);
                            }};
    loop_->run_and_wait([&] { id_ = pool_->start(std::move(request), std::move(handlers)); });
    return done->get_future();
  }
  Answer fetch(PoolRequest request) { return start(std::move(request)).get(); }

  // In two pieces, the second when the first is sent.
  Answer upload(std::optional<std::uint64_t> length, const std::string& first, const std::string& second) {
    auto r = request("POST", "/echo");
    r.streams_body = true;
    r.body_length = length;
    auto answer = std::make_shared<Answer>();
    std::promise<void> done;
    int pieces = 0;
    ClientHandlers handlers{.on_data = [answer](std::string_view data) { answer->body += data; },
                            .on_writable = [&] {
                              if (pieces < 2) pool_->send(id_, pieces++ == 0 ? first : second);
                              if (pieces == 2) pool_->end_body(id_);
                            },
                            .on_done = [&](Status end) {
                              answer->end = std::move(end);
                              done.set_value();
                            }};
    loop_->run_and_wait([&] { id_ = pool_->start(std::move(r), std::move(handlers)); });
    done.get_future().wait();
    return *answer;
  }

  const std::shared_ptr<EventLoop> loop_ = std::make_shared<EventLoop>("test-loop");
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<ClientPool> pool_;
  std::shared_ptr<ResponseWriter> kept_;
  std::promise<void> asked_, client_gone_;
  ClientPool::CallId id_ = 0;
};

TEST_F(ClientPoolTest, ReusesOneConnectionForCallsAfterEachOther) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(fetch(request("POST", "/echo", "hello")).body, "POST hello");
  EXPECT_EQ(server_->connections(), 1);
  loop_->run_and_wait([&] { EXPECT_EQ(pool_->connections(), 0); });
}

TEST_F(ClientPoolTest, TellsInterimAnswersBeforeTheAnswer) {
  for (int i = 0; i < 2; ++i) {
    const Answer answer = fetch(request("POST", "/early", "x"));
    EXPECT_EQ(answer.early, "12");
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "POST x");
  }
  EXPECT_EQ(fetch(request("POST", "/echo", "x")).early, "");
}

TEST_F(ClientPoolTest, AKeptConnectionThatTheServerClosedIsReplaced) {
  EXPECT_EQ(fetch(request("POST", "/echo", "one")).body, "POST one");
  const int port = server_->port();
  server_.reset();
  serve(port);
  const Answer answer = fetch(request("POST", "/echo", "two"));
  EXPECT_TRUE(answer.end.ok()) << answer.end.error().message;
  EXPECT_EQ(answer.body, "POST two");
}

TEST_F(ClientPoolTest, SendsLargeBodiesAndTakesLargeAnswers) {
  const std::string body(3 << 20, 'x');
  EXPECT_EQ(fetch(request("POST", "/echo", body)).body, "POST " + body);
}

TEST_F(ClientPoolTest, SendsBodiesThatComeInPieces) {
  const std::string first(3 << 20, 'x'), second(1 << 20, 'y');
  EXPECT_EQ(upload(first.size() + second.size(), first, second).body, "POST " + first + second);
  EXPECT_EQ(upload(std::nullopt, first, second).body, "POST " + first + second);
  EXPECT_EQ(fetch(request("POST", "/echo", "two")).body, "POST two");
  EXPECT_EQ(server_->connections(), 2);
}

TEST_F(ClientPoolTest, ResolvesNames) {
  auto r = request("GET", "/echo");
  r.host = "localhost";
  EXPECT_EQ(fetch(std::move(r)).body, "GET ");
}

TEST_F(ClientPoolTest, CancellingClosesTheConnectionAtOnce) {
  auto answer = start(request("GET", "/stream"));
  asked_.get_future().wait();
  loop_->run_and_wait([&] { pool_->cancel(id_); });
  EXPECT_EQ(answer.get().end.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(client_gone_.get_future().wait_for(seconds(20)), std::future_status::ready);
}

TEST_F(ClientPoolTest, AServerThatSaysNothingIsGivenUp) {
  auto r = request("GET", "/never");
  r.silence_timeout = milliseconds(20);
  const Answer answer = fetch(std::move(r));
  EXPECT_EQ(answer.end.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_NE(answer.end.error().message.find(std::to_string(server_->port()) + ": no answer in time"), std::string::npos);
}

TEST_F(ClientPoolTest, AStreamThatStopsIsGivenUp) {
  auto r = request("GET", "/stream");
  r.silence_timeout = milliseconds(20);
  const Answer answer = fetch(std::move(r));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.end.error().code, ErrorCode::kDeadlineExceeded);
}

TEST_F(ClientPoolTest, APausedCallReadsOnlyWhenItGoesOn) {
  auto answer = start(request("GET", "/stream"));
  asked_.get_future().wait();
  loop_->run_and_wait([&] {
    pool_->pause(id_);
    kept_->write(std::string(kMoreThanTheKernelTakes, 'x'));
  });
  std::promise<void> drained;
  bool all_sent = true;
  loop_->run_and_wait([&] { all_sent = kept_->buffered() == 0; });
  EXPECT_FALSE(all_sent);
  loop_->run_and_wait([&] {
    kept_->on_drained([&] { drained.set_value(); });
    pool_->resume(id_);
  });
  EXPECT_EQ(drained.get_future().wait_for(seconds(20)), std::future_status::ready);
  loop_->run_and_wait([&] { kept_->end(); });
  EXPECT_EQ(answer.get().body.size(), kMoreThanTheKernelTakes);
}

TEST_F(ClientPoolTest, AnAbortedAnswerIsAnError) {
  auto answer = start(request("GET", "/stream"));
  asked_.get_future().wait();
  loop_->run_and_wait([&] {
    kept_->write("half");
    kept_->abort();
  });
  EXPECT_FALSE(answer.get().end.ok());
}

TEST_F(ClientPoolTest, NamesTheServerThatIsNotThere) {
  const int port = server_->port();
  auto r = request("GET", "/echo");
  server_.reset();
  const Answer answer = fetch(std::move(r));
  EXPECT_EQ(answer.end.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(answer.end.error().message.find("127.0.0.1:" + std::to_string(port)), std::string::npos);
}

TEST_F(ClientPoolTest, CallsBeyondTheLimitWaitForAConnection) {
  loop_->run_and_wait([this] { pool_ = ClientPool::create(loop_, {.max_connections = 1}); });
  auto first = start(request("GET", "/stream"));
  asked_.get_future().wait();
  auto second = start(request("GET", "/echo"));
  EXPECT_EQ(server_->connections(), 1);
  loop_->run_and_wait([&] { kept_->end(); });
  EXPECT_TRUE(first.get().end.ok());
  EXPECT_EQ(second.get().body, "GET ");
}

}  // namespace
}  // namespace braid::net
