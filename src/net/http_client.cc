// SPDX-License-Identifier: Apache-2.0
#include "net/http_client.h"

#include <array>
#include <atomic>
#include <boost/asio/connect.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <deque>
#include <future>
#include <thread>
#include <unordered_map>

#include "base/log.h"

namespace braid::net {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

// A body that hands its bytes on as they come.
struct SinkBody {
  using value_type = std::function<void(std::string_view)>;
  class reader {
   public:
    template <bool isRequest, class Fields>
    reader(http::header<isRequest, Fields>&, value_type& sink) : sink_(sink) {}
    void init(const boost::optional<std::uint64_t>&, error_code& ec) { ec = {}; }
    template <class Buffers>
    std::size_t put(const Buffers& buffers, error_code& ec) {
      ec = {};
      std::size_t total = 0;
      for (auto it = asio::buffer_sequence_begin(buffers); it != asio::buffer_sequence_end(buffers); ++it) {
        asio::const_buffer part(*it);
        if (sink_) sink_({static_cast<const char*>(part.data()), part.size()});
        total += part.size();
      }
      return total;
    }
    void finish(error_code& ec) { ec = {}; }

   private:
    value_type& sink_;
  };
};

struct Socket {
  explicit Socket(asio::io_context& io) : socket(io) {}
  tcp::socket socket;
};

struct Call : std::enable_shared_from_this<Call> {
  explicit Call(asio::io_context& io) : timer(io) {}
  std::uint64_t id = 0;
  ClientRequest request;
  ClientHandlers handlers;
  std::unique_ptr<Socket> connection;
  std::optional<http::response_parser<SinkBody>> parser;
  std::string wire;
  std::string in;
  std::array<char, 16384> chunk;
  asio::steady_timer timer;
  bool reused = false;
  bool head_told = false;
  bool answered = false;  // at least one byte came
  bool done = false;
};

class Client final : public HttpClient {
 public:
  Client(std::string host, int port, int max_connections)
      : host_(std::move(host)), port_(port), limit_(max_connections), thread_([this] { run(); }) {}

  ~Client() override {
    asio::post(io_, [this] {
      for (auto& [id, call] : active_) {
        call->done = true;
        close(*call);
      }
      io_.stop();
    });
    thread_.join();
  }

  CallId start(ClientRequest request, ClientHandlers handlers) override {
    auto call = std::make_shared<Call>(io_);
    call->id = ++last_id_;
    call->request = std::move(request);
    call->handlers = std::move(handlers);
    asio::post(io_, [this, call] { admit(call); });
    return call->id;
  }

  void cancel(CallId id) override {
    asio::post(io_, [this, id] {
      if (auto found = active_.find(id); found != active_.end()) {
        finish(found->second, Error{ErrorCode::kCancelled, "cancelled", {}});
      }
    });
  }

  void after(Duration delay, std::function<void()> work) override {
    asio::post(io_, [this, delay, work = std::move(work)]() mutable {
      auto timer = std::make_shared<asio::steady_timer>(io_);
      timer->expires_after(std::chrono::duration_cast<asio::steady_timer::duration>(delay));
      timer->async_wait([timer, work = std::move(work)](error_code ec) {
        if (!ec) work();
      });
    });
  }

 private:
  using CallPtr = std::shared_ptr<Call>;

  void run() {
    for (;;) {
      try {
        io_.run();
        return;
      } catch (const std::exception& e) {
        log_error("http client callback failed", {{"why", e.what()}});
      }
    }
  }

  void admit(const CallPtr& call) {
    active_[call->id] = call;
    call->timer.expires_after(
        std::chrono::duration_cast<asio::steady_timer::duration>(call->request.timeout));
    call->timer.async_wait([this, call](error_code ec) {
      if (!ec) finish(call, Error{ErrorCode::kDeadlineExceeded, "no complete answer in time", {}});
    });
    waiting_.push_back(call);
    launch_waiting();
  }

  void launch_waiting() {
    while (!waiting_.empty() && open_ < limit_) {
      CallPtr call = std::move(waiting_.front());
      waiting_.pop_front();
      if (call->done) continue;
      ++open_;
      launch(call, !idle_.empty());
    }
  }

  void launch(const CallPtr& call, bool reuse) {
    call->parser.emplace();
    call->parser->body_limit(boost::none);
    call->parser->get().body() = [raw = call.get()](std::string_view data) {
      if (raw->handlers.on_data) raw->handlers.on_data(data);
    };
    if (call->request.method == "HEAD") call->parser->skip(true);
    call->wire = wire_of(call->request);
    call->reused = reuse;
    if (reuse) {
      call->connection = std::move(idle_.back());
      idle_.pop_back();
      return send(call);
    }
    connect(call);
  }

  void connect(const CallPtr& call) {
    call->connection = std::make_unique<Socket>(io_);
    error_code ec;
    if (endpoints_.empty()) {
      tcp::resolver resolver(io_);
      endpoints_ = resolver.resolve(host_, std::to_string(port_), ec);
      if (ec) return fail(call, "can't resolve " + host_ + ": " + ec.message());
    }
    asio::async_connect(call->connection->socket, endpoints_,
                        [this, call](error_code error, const tcp::endpoint&) {
                          if (call->done) return;
                          if (error) return fail(call, "can't connect: " + error.message());
                          error_code ignored;
                          call->connection->socket.set_option(tcp::no_delay(true), ignored);
                          send(call);
                        });
  }

  std::string wire_of(const ClientRequest& request) const {
    std::string wire = request.method + " " + request.target + " HTTP/1.1\r\nhost: " + host_ + ":" +
                       std::to_string(port_) + "\r\n";
    for (const Header& h : request.headers) wire += h.name + ": " + h.value + "\r\n";
    if (!request.body.empty() && find_header(request.headers, "content-type").empty()) {
      wire += "content-type: application/json\r\n";
    }
    if (!request.body.empty() || request.method == "POST") {
      wire += "content-length: " + std::to_string(request.body.size()) + "\r\n";
    }
    return wire + "\r\n" + request.body;
  }

  void send(const CallPtr& call) {
    asio::async_write(call->connection->socket, asio::buffer(call->wire),
                      [this, call](error_code ec, std::size_t) {
                        if (call->done) return;
                        if (ec && !retry(call)) return fail(call, "can't send: " + ec.message());
                        if (!ec) read(call);
                      });
  }

  // A kept connection may have been closed by the server meanwhile: try once on a new one.
  bool retry(const CallPtr& call) {
    if (!call->reused || call->answered) return false;
    error_code ignored;
    call->connection->socket.close(ignored);
    launch(call, false);
    return true;
  }

  void read(const CallPtr& call) {
    call->connection->socket.async_read_some(asio::buffer(call->chunk), [this, call](error_code ec, std::size_t n) {
      if (call->done) return;
      if (ec) return on_read_error(call, ec);
      call->answered = true;
      call->in.append(call->chunk.data(), n);
      parse(call);
    });
  }

  void on_read_error(const CallPtr& call, error_code ec) {
    if (ec == asio::error::eof && call->answered && call->parser->is_header_done()) {
      error_code end;
      call->parser->put_eof(end);
      if (!end && call->parser->is_done()) return finish(call, Status());
    }
    if (!retry(call)) fail(call, "the connection ended before the answer: " + ec.message());
  }

  void parse(const CallPtr& call) {
    std::size_t used = 0;
    while (used < call->in.size() && !call->parser->is_done()) {
      error_code ec;
      std::size_t n = call->parser->put(asio::buffer(call->in.data() + used, call->in.size() - used), ec);
      used += n;
      if (ec && ec != http::error::need_more) return fail(call, "not a valid answer: " + ec.message());
      tell_head(call);
      if (call->done) return;
      if (n == 0) break;
    }
    call->in.erase(0, used);
    tell_head(call);
    if (call->parser->is_done()) return finish(call, Status());
    read(call);
  }

  void tell_head(const CallPtr& call) {
    if (call->head_told || !call->parser->is_header_done()) return;
    call->head_told = true;
    call->parser->eager(true);  // not before: the head is told before the body, though both came at once
    if (!call->handlers.on_head) return;
    std::vector<Header> headers;
    auto& message = call->parser->get();
    for (const auto& f : message) {
      headers.push_back({std::string(f.name_string()), std::string(f.value())});
    }
    call->handlers.on_head(static_cast<int>(message.result_int()), headers);
  }

  void fail(const CallPtr& call, std::string why) {
    endpoints_ = {};
    finish(call, Error{ErrorCode::kUnavailable, host_ + ":" + std::to_string(port_) + ": " + why, {}});
  }

  void finish(CallPtr call, Status status) {
    if (call->done) return;
    call->done = true;
    call->timer.cancel();
    active_.erase(call->id);
    if (call->connection) {
      --open_;
      bool keep = status.ok() && call->parser->keep_alive() && call->in.empty();
      if (keep) {
        idle_.push_back(std::move(call->connection));
      } else {
        close(*call);
      }
    }
    if (call->handlers.on_done) call->handlers.on_done(std::move(status));
    launch_waiting();
  }

  static void close(Call& call) {
    error_code ignored;
    if (call.connection) call.connection->socket.close(ignored);
  }

  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard_{io_.get_executor()};
  const std::string host_;
  const int port_;
  const int limit_;
  tcp::resolver::results_type endpoints_;
  std::atomic<CallId> last_id_{0};
  int open_ = 0;  // calls that own a connection
  std::unordered_map<CallId, CallPtr> active_;
  std::deque<CallPtr> waiting_;
  std::vector<std::unique_ptr<Socket>> idle_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<HttpClient> HttpClient::create(const std::string& host, int port, int max_connections) {
  return std::make_unique<Client>(host, port, max_connections);
}

Result<ClientResponse> HttpClient::fetch(ClientRequest request) {
  auto body = std::make_shared<std::string>();
  auto result = fetch_stream(std::move(request), [body](std::string_view data) { *body += data; });
  if (result.ok()) result->body = std::move(*body);
  return result;
}

Result<ClientResponse> HttpClient::fetch_stream(ClientRequest request,
                                                std::function<void(std::string_view)> on_data) {
  auto response = std::make_shared<ClientResponse>();
  auto done = std::make_shared<std::promise<Status>>();
  auto outcome = done->get_future();
  start(std::move(request), {.on_head =
                                 [response](int status, const std::vector<Header>& headers) {
                                   response->status = status;
                                   response->headers = headers;
                                 },
                             .on_data = std::move(on_data),
                             .on_done = [done](Status status) { done->set_value(std::move(status)); }});
  Status status = outcome.get();
  if (!status.ok()) return status.error();
  return std::move(*response);
}

}  // namespace braid::net
