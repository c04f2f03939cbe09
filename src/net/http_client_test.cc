// SPDX-License-Identifier: Apache-2.0
#include "net/http_client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "net/http_server.h"

namespace braid::net {
namespace {

class HttpClientTest : public testing::Test {
 protected:
  void SetUp() override {
    auto listening = HttpServer::listen({}, [this](Request&& r, std::shared_ptr<ResponseWriter> w) {
      if (r.path() == "/never") {
        w->on_close([this] { closed_.set_value(); });
        kept_ = std::move(w);
      } else if (r.path() == "/events") {
        w->begin({.content_type = "text/event-stream"});
        for (int i = 0; i < 20; ++i) w->write("data: " + r.body + std::to_string(i) + "\n\n");
        w->end();
      } else {
        w->send({.status = r.path() == "/missing" ? 404 : 200, .body = r.body});
      }
    });
    ASSERT_TRUE(listening.ok());
    server_ = std::move(*listening);
    client_ = HttpClient::create("127.0.0.1", server_->port(), 32);
  }
  void TearDown() override {
    client_.reset();
    server_->shutdown(Duration(0));
    kept_.reset();
  }

  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<HttpClient> client_;
  std::shared_ptr<ResponseWriter> kept_;
  std::promise<void> closed_;
};

TEST_F(HttpClientTest, FetchesAndReusesItsConnection) {
  for (int i = 0; i < 5; ++i) {
    auto got = client_->fetch({.method = "POST", .target = "/x", .body = "hello"});
    ASSERT_TRUE(got.ok()) << got.error().message;
    EXPECT_EQ(got->body, "hello");
  }
  EXPECT_EQ(server_->connections(), 1);
  EXPECT_EQ(client_->fetch({.target = "/missing"})->status, 404);
}

TEST_F(HttpClientTest, TellsTheHeadBeforeABodyThatCameWithIt) {
  std::promise<Status> done;
  std::string order;
  client_->start({.method = "POST", .target = "/x", .body = "hello"},
                 {.on_head = [&](int status, const auto&) { order += std::to_string(status) + " "; },
                  .on_data = [&](std::string_view bytes) { order += bytes; },
                  .on_done = [&](Status s) { done.set_value(std::move(s)); }});
  EXPECT_TRUE(done.get_future().get().ok());
  EXPECT_EQ(order, "200 hello");
}

TEST_F(HttpClientTest, CarriesHundredsOfStreamsOverAFewConnections) {
  constexpr int kStreams = 300;
  std::atomic<int> left{kStreams}, events{0}, failures{0};
  std::promise<void> all;
  std::vector<SseReader> readers(kStreams);
  for (int i = 0; i < kStreams; ++i) {
    client_->start({.method = "POST", .target = "/events", .body = "s"},
                   {.on_data = [&, i](std::string_view bytes) {
                      readers[static_cast<std::size_t>(i)].feed(bytes, [&](std::string_view) { ++events; });
                    },
                    .on_done = [&](Status status) {
                      if (!status.ok()) ++failures;
                      if (--left == 0) all.set_value();
                    }});
  }
  ASSERT_EQ(all.get_future().wait_for(std::chrono::seconds(60)), std::future_status::ready);
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(events, kStreams * 20);
}

TEST_F(HttpClientTest, CancelClosesTheConnection) {
  std::promise<Status> done;
  std::promise<void> started;
  auto id = client_->start({.target = "/never"}, {.on_done = [&](Status s) { done.set_value(s); }});
  while (server_->connections() == 0) std::this_thread::yield();
  client_->cancel(id);
  EXPECT_EQ(done.get_future().get().error().code, ErrorCode::kCancelled);
}

TEST_F(HttpClientTest, TimesOut) {
  auto got = client_->fetch({.target = "/never", .timeout = std::chrono::milliseconds(30)});
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(closed_.get_future().wait_for(std::chrono::seconds(20)), std::future_status::ready);
}

TEST_F(HttpClientTest, NamesTheServerThatIsNotThere) {
  int port = server_->port();
  server_->shutdown(Duration(0));
  auto got = client_->fetch({.target = "/x"});
  ASSERT_FALSE(got.ok());
  EXPECT_NE(got.error().message.find(std::to_string(port)), std::string::npos);
}

TEST(SseReader, GivesTheSameEventsWhateverTheCuts) {
  std::string text = "data: one\n\n: comment\nevent: x\r\ndata: two\r\ndata: lines\r\n\r\ndata:[DONE]\n\n";
  for (std::size_t cut = 1; cut < text.size(); ++cut) {
    SseReader reader;
    std::vector<std::string> events;
    auto keep = [&](std::string_view e) { events.emplace_back(e); };
    reader.feed(std::string_view(text).substr(0, cut), keep);
    reader.feed(std::string_view(text).substr(cut), keep);
    EXPECT_EQ(events, (std::vector<std::string>{"one", "two\nlines", "[DONE]"}));
  }
}

TEST(Url, ReadsHostPortAndBase) {
  auto url = parse_url("http://localhost:8000/v1/");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->host, "localhost");
  EXPECT_EQ(url->port, 8000);
  EXPECT_EQ(url->base, "/v1");
  EXPECT_EQ(parse_url("[::1]:80")->host, "::1");
  for (const char* bad : {"", "https://a", "http://:1", "http://a:b", "http://a:99999"}) {
    EXPECT_FALSE(parse_url(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace braid::net
