// SPDX-License-Identifier: Apache-2.0
#include "net/client_pool.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <cerrno>
#include <deque>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

namespace braid::net {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::size_t kReadAtOnce = 64u << 10;

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
        sink_({static_cast<const char*>(part.data()), part.size()});
        total += part.size();
      }
      return total;
    }
    void finish(error_code& ec) { ec = {}; }

   private:
    value_type& sink_;
  };
};

struct Idle {
  tcp::socket socket;
  TimePoint since;
};

struct Call;
using CallPtr = std::shared_ptr<Call>;

struct Server {
  std::string where;  // "host:port" as in the host header
  int open = 0;       // calls that own a connection
  std::deque<CallPtr> waiting;
  std::vector<Idle> idle;  // oldest first
};

struct Call {
  Call(asio::io_context& io, Server& s) : server(s), socket(io), timer(io) {}
  std::uint64_t id = 0;
  PoolRequest request;
  ClientHandlers handlers;
  Server& server;
  tcp::socket socket;
  std::optional<http::response_parser<SinkBody>> parser;
  std::string head;
  std::string unread;  // bytes that the parser wants to see again with more behind them
  asio::steady_timer timer;
  TimePoint end;      // of the whole call
  TimePoint silence;  // latest time for the next sign of life
  TimePoint armed;    // when the timer fires
  std::string out;      // of a body that streams, not sent yet
  std::string writing;
  bool body_ended = false;
  bool body_sent = false;
  bool owns_connection = false;
  bool connecting = false;
  bool reused = false;
  bool head_told = false;
  bool answered = false;  // at least one byte came
  bool paused = false;
  bool reading = false;
  bool done = false;
};

// Whether a kept connection has neither ended nor got bytes that nobody asked for.
bool usable(tcp::socket& socket) {
  char byte = 0;
  const auto n = ::recv(socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

std::string head_of(const PoolRequest& request, const std::string& where) {
  std::string head;
  head.reserve(512);
  head.append(request.method).append(" ").append(request.target).append(" HTTP/1.1\r\nhost: ").append(where).append("\r\n");
  for (const Header& h : request.headers) head.append(h.name).append(": ").append(h.value).append("\r\n");
  if (request.streams_body) {
    if (!request.body_length) return head.append("transfer-encoding: chunked\r\n\r\n");
    return head.append("content-length: ").append(std::to_string(*request.body_length)).append("\r\n\r\n");
  }
  if (!request.body.empty() || request.method == "POST" || request.method == "PUT") {
    head.append("content-length: ").append(std::to_string(request.body.size())).append("\r\n");
  }
  return head.append("\r\n");
}

class Pool final : public ClientPool {
 public:
  Pool(std::shared_ptr<EventLoop> loop, const ClientPoolOptions& options)
      : loop_(std::move(loop)), options_(options), sweeper_(loop_->io()), buffer_(kReadAtOnce) {}

  ~Pool() override {
    *alive_ = false;
    for (auto& [id, call] : active_) {
      call->done = true;
      close(*call);
    }
  }

  CallId start(PoolRequest request, ClientHandlers handlers) override {
    Server& server = server_of(request);
    auto call = std::make_shared<Call>(loop_->io(), server);
    call->id = ++last_id_;
    call->request = std::move(request);
    call->handlers = std::move(handlers);
    active_[call->id] = call;
    const TimePoint now = std::chrono::steady_clock::now();
    call->end = now + call->request.timeout;
    call->silence = TimePoint::max();
    arm(call);
    server.waiting.push_back(call);
    launch_waiting(server);
    return call->id;
  }

  void cancel(CallId id) override {
    if (const auto found = active_.find(id); found != active_.end()) finish(found->second, Error{ErrorCode::kCancelled, "cancelled", {}});
  }

  void pause(CallId id) override {
    const auto found = active_.find(id);
    if (found == active_.end()) return;
    found->second->paused = true;
    found->second->silence = TimePoint::max();
  }

  void resume(CallId id) override {
    const auto found = active_.find(id);
    if (found == active_.end() || !found->second->paused) return;
    found->second->paused = false;
    expect(found->second, found->second->request.silence_timeout);
    read(found->second);
  }

  std::size_t send(CallId id, std::string_view data) override {
    const auto found = active_.find(id);
    if (found == active_.end() || data.empty()) return 0;
    Call& call = *found->second;
    if (call.body_sent) return 0;
    if (call.request.body_length) {
      call.out.append(data);
    } else {
      append_chunk(call.out, data);
    }
    write(found->second);
    return call.out.size() + call.writing.size();
  }

  void end_body(CallId id) override {
    const auto found = active_.find(id);
    if (found == active_.end() || std::exchange(found->second->body_ended, true)) return;
    if (!found->second->request.body_length) found->second->out += "0\r\n\r\n";
    write(found->second);
  }

  int connections() const override {
    int sum = 0;
    for (const auto& [where, server] : servers_) sum += server.open;
    return sum;
  }

 private:
  Server& server_of(const PoolRequest& request) {
    const bool v6 = request.host.find(':') != std::string::npos;
    std::string where = (v6 ? "[" + request.host + "]" : request.host) + ":" + std::to_string(request.port);
    Server& server = servers_[where];
    if (server.where.empty()) server.where = std::move(where);
    return server;
  }

  // The timer is only set anew when the next deadline comes before it: most calls never move it.
  void arm(const CallPtr& call) {
    call->armed = std::min(call->end, call->silence);
    call->timer.expires_at(std::chrono::time_point_cast<asio::steady_timer::duration>(call->armed));
    call->timer.async_wait([this, alive = alive_, call](error_code ec) {
      if (ec || !*alive || call->done) return;
      const TimePoint now = std::chrono::steady_clock::now();
      if (now >= call->end) return finish(call, Error{ErrorCode::kDeadlineExceeded, call->server.where + ": no complete answer in time", {}});
      if (now >= call->silence && call->connecting) return fail(call, ErrorCode::kUnavailable, "no connection in time");
      if (now >= call->silence) return fail(call, ErrorCode::kDeadlineExceeded, call->answered ? "the answer has stopped" : "no answer in time");
      arm(call);
    });
  }

  void expect(const CallPtr& call, Duration within) {
    call->silence = std::chrono::steady_clock::now() + within;
    if (call->silence < call->armed) arm(call);
  }

  void launch_waiting(Server& server) {
    while (!server.waiting.empty() && server.open < options_.max_connections) {
      CallPtr call = std::move(server.waiting.front());
      server.waiting.pop_front();
      if (call->done) continue;
      ++server.open;
      call->owns_connection = true;
      launch(call, !call->request.streams_body);
    }
  }

  static void new_parser(Call& call) {
    call.parser.emplace();
    call.parser->body_limit(boost::none);
    call.parser->get().body() = [raw = &call](std::string_view data) {
      if (!raw->done && raw->handlers.on_data) raw->handlers.on_data(data);
    };
    if (call.request.method == "HEAD") call.parser->skip(true);
  }

  void launch(const CallPtr& call, bool may_reuse) {
    new_parser(*call);
    call->head = head_of(call->request, call->server.where);
    call->reused = may_reuse && take_idle(*call);
    if (call->reused) return send(call);
    connect(call);
  }

  bool take_idle(Call& call) {
    auto& idle = call.server.idle;
    while (!idle.empty()) {
      tcp::socket socket = std::move(idle.back().socket);
      idle.pop_back();
      if (!usable(socket)) continue;
      call.socket = std::move(socket);
      return true;
    }
    return false;
  }

  void connect(const CallPtr& call) {
    call->socket = tcp::socket(loop_->io());
    call->connecting = true;
    expect(call, call->request.connect_timeout);
    error_code ec;
    const auto address = asio::ip::make_address(call->request.host, ec);
    if (!ec) return connect(call, std::array{tcp::endpoint(address, static_cast<std::uint16_t>(call->request.port))});
    auto resolver = std::make_shared<tcp::resolver>(loop_->io());
    resolver->async_resolve(call->request.host, std::to_string(call->request.port),
                            [this, alive = alive_, call, resolver](error_code error, tcp::resolver::results_type found) {
                              if (!*alive || call->done) return;
                              if (error) return fail(call, ErrorCode::kUnavailable, "can't resolve: " + error.message());
                              connect(call, found);
                            });
  }

  template <class Endpoints>
  void connect(const CallPtr& call, const Endpoints& endpoints) {
    asio::async_connect(call->socket, endpoints, [this, alive = alive_, call](error_code error, const tcp::endpoint&) {
      if (!*alive || call->done) return;
      if (error) return fail(call, ErrorCode::kUnavailable, "can't connect: " + error.message());
      error_code ignored;
      call->socket.set_option(tcp::no_delay(true), ignored);
      call->socket.non_blocking(true, ignored);
      send(call);
    });
  }

  // A server may answer before it has read all and close; so whether sending failed is told by reading.
  void send(const CallPtr& call) {
    call->connecting = false;
    expect(call, call->request.silence_timeout);
    if (call->request.streams_body) return open_body(call);
    const std::array<asio::const_buffer, 2> parts{asio::buffer(call->head), asio::buffer(call->request.body.data(), call->request.body.size())};
    asio::async_write(call->socket, parts, [this, alive = alive_, call](error_code, std::size_t) {
      if (!*alive || call->done) return;
      expect(call, call->request.silence_timeout);
      read(call);
    });
  }

  // While the body is on its way its sender may be silent, and the server too.
  void open_body(const CallPtr& call) {
    call->silence = TimePoint::max();
    call->out = std::exchange(call->head, {});
    write(call);
    read(call);
  }

  void write(const CallPtr& call) {
    if (!call->writing.empty() || call->body_sent) return;
    if (call->out.empty()) {
      call->body_sent = call->body_ended;
      if (call->body_sent && !call->answered) expect(call, call->request.silence_timeout);
      if (!call->body_sent && call->handlers.on_writable) call->handlers.on_writable();
      return;
    }
    call->writing.swap(call->out);
    if (!call->answered) expect(call, call->request.silence_timeout);
    asio::async_write(call->socket, asio::buffer(call->writing), [this, alive = alive_, call](error_code ec, std::size_t) {
      if (!*alive || call->done) return;
      call->writing.clear();
      if (!call->answered) call->silence = TimePoint::max();
      if (!ec) return write(call);
      call->body_sent = true;  // no more of it; what has become of the call is told by reading
      call->out.clear();
    });
  }

  bool retry(const CallPtr& call) {
    if (!call->reused || call->answered) return false;
    error_code ignored;
    call->socket.close(ignored);
    launch(call, false);
    return true;
  }

  void read(const CallPtr& call) {
    if (call->paused || call->reading) return;
    call->reading = true;
    call->socket.async_wait(tcp::socket::wait_read, [this, alive = alive_, call](error_code ec) {
      call->reading = false;
      if (!*alive || call->done) return;
      std::size_t n = 0;
      if (!ec) n = call->socket.read_some(asio::buffer(buffer_), ec);
      if (ec == asio::error::would_block) return read(call);
      if (ec) return on_read_error(call, ec);
      call->answered = true;
      if (!call->paused && (!call->request.streams_body || call->body_sent)) call->silence = std::chrono::steady_clock::now() + call->request.silence_timeout;
      parse(call, {buffer_.data(), n});
    });
  }

  void on_read_error(const CallPtr& call, error_code ec) {
    if (ec == asio::error::eof && call->answered && call->parser->is_header_done()) {
      error_code end;
      call->parser->put_eof(end);
      if (!end && call->parser->is_done()) return finish(call, Status());
    }
    if (!retry(call)) fail(call, ErrorCode::kUnavailable, "the connection ended before the answer: " + ec.message());
  }

  void parse(const CallPtr& call, std::string_view bytes) {
    const bool joined = !call->unread.empty();
    if (joined) bytes = call->unread.append(bytes);
    while (!bytes.empty() && !call->parser->is_done()) {
      error_code ec;
      const std::size_t n = call->parser->put(asio::buffer(bytes.data(), bytes.size()), ec);
      if (call->done) return;
      bytes.remove_prefix(n);
      if (ec && ec != http::error::need_more) return fail(call, ErrorCode::kUnavailable, "not a valid answer: " + ec.message());
      if (is_interim(*call)) tell_early(call);
      else tell_head(call);
      if (call->done) return;
      if (n == 0) break;
    }
    call->unread = std::string(bytes);
    if (call->parser->is_done()) return finish(call, Status());
    read(call);
  }

  static std::vector<Header> headers_of(const Call& call) {
    std::vector<Header> headers;
    for (const auto& f : call.parser->get()) headers.push_back({std::string(f.name_string()), std::string(f.value())});
    return headers;
  }

  static bool is_interim(const Call& call) {
    if (call.head_told || !call.parser->is_header_done()) return false;
    const auto status = call.parser->get().result_int();
    return status / 100 == 1 && status != 101;
  }

  void tell_early(const CallPtr& call) {
    const auto headers = headers_of(*call);
    new_parser(*call);
    if (call->handlers.on_early) call->handlers.on_early(headers);
  }

  void tell_head(const CallPtr& call) {
    if (call->head_told || !call->parser->is_header_done()) return;
    call->head_told = true;
    call->head = {};
    call->parser->eager(true);  // not before: the head is told before the body, though both came at once
    if (!call->handlers.on_head) return;
    call->handlers.on_head(static_cast<int>(call->parser->get().result_int()), headers_of(*call));
  }

  void fail(const CallPtr& call, ErrorCode code, const std::string& why) { finish(call, Error{code, call->server.where + ": " + why, {}}); }

  void finish(CallPtr call, Status status) {
    if (call->done) return;
    call->done = true;
    call->timer.cancel();
    active_.erase(call->id);
    Server& server = call->server;
    if (std::exchange(call->owns_connection, false)) {
      --server.open;
      const bool keep = status.ok() && call->parser->keep_alive() && call->unread.empty() && (!call->request.streams_body || (call->body_ended && call->body_sent)) && server.idle.size() < options_.max_idle;
      if (keep) {
        server.idle.push_back({std::move(call->socket), std::chrono::steady_clock::now()});
        sweep();
      } else {
        close(*call);
      }
    }
    const auto alive = alive_;
    if (call->handlers.on_done) call->handlers.on_done(std::move(status));
    if (*alive) launch_waiting(server);
  }

  static void close(Call& call) {
    error_code ignored;
    call.socket.close(ignored);
  }

  // Runs while connections are kept.
  void sweep() {
    if (std::exchange(sweeping_, true)) return;
    sweeper_.expires_after(std::chrono::duration_cast<asio::steady_timer::duration>(options_.idle_timeout / 2));
    sweeper_.async_wait([this, alive = alive_](error_code ec) {
      if (ec || !*alive) return;
      sweeping_ = false;
      const TimePoint oldest = std::chrono::steady_clock::now() - options_.idle_timeout;
      bool left = false;
      for (auto& [where, server] : servers_) {
        std::erase_if(server.idle, [&](const Idle& idle) { return idle.since <= oldest; });
        left = left || !server.idle.empty();
      }
      if (left) sweep();
    });
  }

  const std::shared_ptr<EventLoop> loop_;
  const ClientPoolOptions options_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // read by what the loop still holds
  CallId last_id_ = 0;
  std::map<std::string, Server> servers_;
  std::unordered_map<CallId, CallPtr> active_;
  asio::steady_timer sweeper_;
  bool sweeping_ = false;
  std::vector<char> buffer_;  // of the one read that is in progress
};

}  // namespace

std::unique_ptr<ClientPool> ClientPool::create(std::shared_ptr<EventLoop> loop, const ClientPoolOptions& options) {
  return std::make_unique<Pool>(std::move(loop), options);
}

}  // namespace braid::net
