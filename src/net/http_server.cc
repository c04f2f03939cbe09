// SPDX-License-Identifier: Apache-2.0
#include "net/http_server.h"

#include <algorithm>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <mutex>

#include "net/http_connection.h"

namespace braid::net {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

class Server final : public HttpServer {
 public:
  Server(const HttpServerOptions& options, Handler handler, std::shared_ptr<EventLoop> loop)
      : loop_(loop ? std::move(loop) : std::make_shared<EventLoop>("braid-http")),
        hub_{.options = options, .handler = std::move(handler), .io = loop_->io()} {}

  // What the loop still holds of this server runs before the second piece of work.
  ~Server() override {
    loop_->run_and_wait([this] { close_all(); });
    loop_->run_and_wait([this] {
      hub_.dirty.clear();
      hub_.connections.clear();
    });
  }

  Status open() {
    error_code ec;
    tcp::resolver resolver(hub_.io);
    const auto& o = hub_.options;
    auto found = resolver.resolve(o.host, std::to_string(o.port), tcp::resolver::passive, ec);
    std::string where = o.host + ":" + std::to_string(o.port);
    if (ec) return invalid_argument("can't resolve " + where + ": " + ec.message(), "host");
    auto endpoint = found.begin()->endpoint();
    acceptor_.open(endpoint.protocol(), ec);
    if (!ec) acceptor_.set_option(tcp::acceptor::reuse_address(true), ec);
    if (!ec) acceptor_.bind(endpoint, ec);
    if (!ec) acceptor_.listen(4096, ec);
    if (ec) return invalid_argument("can't listen on " + where + ": " + ec.message(), "port");
    port_ = acceptor_.local_endpoint(ec).port();
    loop_->post([this] {
      accept();
      sweep();
    });
    return {};
  }

  int port() const override { return port_; }
  int connections() const override { return hub_.count.load(std::memory_order_relaxed); }
  void post(std::function<void()> work) override { loop_->dispatch(std::move(work)); }

  void shutdown(Duration timeout) override {
    auto done = std::make_shared<Signal>();
    asio::post(hub_.io, [this, done] { drain(done); });
    if (done->wait(timeout)) return;
    auto closed = std::make_shared<Signal>();
    asio::post(hub_.io, [this, closed] {
      close_all();
      closed->set();
    });
    closed->wait(std::chrono::seconds(10));
  }

 private:
  struct Signal {
    void set() {
      std::lock_guard lock(mutex);
      ready = true;
      changed.notify_all();
    }
    bool wait(Duration timeout) {
      std::unique_lock lock(mutex);
      return changed.wait_for(lock, timeout, [&] { return ready; });
    }
    std::mutex mutex;
    std::condition_variable changed;
    bool ready = false;
  };

  void accept() {
    acceptor_.async_accept([this](error_code ec, tcp::socket socket) {
      if (ec == asio::error::operation_aborted || !acceptor_.is_open()) return;
      if (ec) {  // out of descriptors: let some close first
        retry_.expires_after(std::chrono::milliseconds(50));
        retry_.async_wait([this](error_code stopped) {
          if (!stopped && !closed_) accept();
        });
        return;
      }
      int limit = hub_.options.max_connections;
      int open_now = static_cast<int>(hub_.connections.size());
      if (open_now < limit + 64) {
        auto connection = std::make_shared<Connection>(hub_, std::move(socket), open_now >= limit);
        hub_.connections.insert(connection);
        hub_.count.store(open_now + 1, std::memory_order_relaxed);
        connection->start();
      }
      accept();
    });
  }

  void sweep() {
    const auto& o = hub_.options;
    Duration shortest = std::min({o.header_timeout, o.body_timeout, o.idle_timeout, o.write_timeout});
    Duration period = std::clamp<Duration>(shortest / 4, std::chrono::milliseconds(5), std::chrono::seconds(1));
    sweeper_.expires_after(std::chrono::duration_cast<asio::steady_timer::duration>(period));
    sweeper_.async_wait([this](error_code ec) {
      if (ec || closed_) return;
      TimePoint now = hub_.now();
      for (auto& connection : snapshot()) connection->check_deadline(now);
      sweep();
    });
  }

  std::vector<std::shared_ptr<Connection>> snapshot() const {
    return {hub_.connections.begin(), hub_.connections.end()};
  }

  void drain(const std::shared_ptr<Signal>& done) {
    error_code ignored;
    acceptor_.close(ignored);
    hub_.draining = true;
    hub_.on_empty = [done] { done->set(); };
    for (auto& connection : snapshot()) connection->begin_drain();
    if (hub_.connections.empty()) done->set();
  }

  void close_all() {
    error_code ignored;
    acceptor_.close(ignored);
    sweeper_.cancel();
    retry_.cancel();
    closed_ = true;
    for (auto& connection : snapshot()) connection->close();
  }

  const std::shared_ptr<EventLoop> loop_;
  Hub hub_;
  tcp::acceptor acceptor_{hub_.io};
  asio::steady_timer sweeper_{hub_.io};
  asio::steady_timer retry_{hub_.io};
  int port_ = 0;
  bool closed_ = false;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::listen(const HttpServerOptions& options,
                                                       Handler handler,
                                                       std::shared_ptr<EventLoop> loop) {
  auto server = std::make_unique<Server>(options, std::move(handler), std::move(loop));
  if (auto status = server->open(); !status.ok()) return status.error();
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace braid::net
