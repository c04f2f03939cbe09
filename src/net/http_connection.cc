// SPDX-License-Identifier: Apache-2.0
#include "net/http_connection.h"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/message.hpp>
#include <cctype>
#include <utility>

#include "base/log.h"

namespace braid::net {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr Duration kLinger = std::chrono::seconds(2);
constexpr std::size_t kCompactAfter = 16u << 10;   // bytes parsed
constexpr std::size_t kMostPerWrite = 256u << 10;
constexpr std::size_t kMaxPipelined = 256u << 10;  // bytes read ahead while an answer is pending

// Whether the first line's last word is HTTP/ and a version, whichever.
bool names_http_version(std::string_view bytes) {
  const std::string_view line = bytes.substr(0, bytes.find("\r\n"));
  const std::string_view word = line.substr(line.rfind(' ') + 1);
  return word.size() == 8 && word.starts_with("HTTP/") && std::isdigit(word[5]) && word[6] == '.' && std::isdigit(word[7]);
}

class Writer final : public ResponseWriter {
 public:
  Writer(asio::io_context& io, std::shared_ptr<Connection> connection, std::uint64_t serial)
      : io_(io), connection_(std::move(connection)), serial_(serial) {}
  // Behind an answer that another thread has queued, even when the last owner is on the I/O thread.
  ~Writer() override {
    asio::post(io_, [connection = std::move(connection_), serial = serial_] {
      connection->send(serial, {.status = 500, .content_type = "text/plain", .body = "no answer\n"});
      connection->end(serial);
    });
  }
  void send(Response response) override {
    asio::dispatch(io_, [c = connection_, serial = serial_, r = std::move(response)]() mutable {
      c->send(serial, std::move(r));
    });
  }
  void early(std::vector<Header> headers) override {
    asio::dispatch(io_, [c = connection_, serial = serial_, h = std::move(headers)] { c->early(serial, h); });
  }
  void begin(Response head) override {
    asio::dispatch(io_, [c = connection_, serial = serial_, r = std::move(head)]() mutable {
      c->begin(serial, std::move(r));
    });
  }
  void write(std::string data) override {
    asio::dispatch(io_, [c = connection_, serial = serial_, d = std::move(data)] { c->write(serial, d); });
  }
  void end() override {
    asio::dispatch(io_, [c = connection_, serial = serial_] { c->end(serial); });
  }
  void abort() override { connection_->abort(serial_); }
  std::size_t buffered() const override { return connection_->current(serial_) ? connection_->buffered() : 0; }
  void on_drained(std::function<void()> callback) override { connection_->on_drained(serial_, std::move(callback)); }
  bool open() const override { return connection_->current(serial_); }
  void on_close(std::function<void()> callback) override {
    connection_->on_close(serial_, std::move(callback));
  }

 private:
  asio::io_context& io_;
  std::shared_ptr<Connection> connection_;  // let go of on the I/O thread
  std::uint64_t serial_;
};

class Body final : public BodyReader {
 public:
  Body(std::shared_ptr<Connection> connection, std::uint64_t serial, std::optional<std::uint64_t> length)
      : connection_(std::move(connection)), serial_(serial), length_(length) {}
  std::optional<std::uint64_t> length() const override { return length_; }
  void start(std::function<void(std::string_view)> on_data, std::function<void()> on_end) override {
    connection_->start_body(serial_, std::move(on_data), std::move(on_end));
  }
  void pause() override { connection_->pause_body(serial_); }
  void resume() override { connection_->resume_body(serial_); }

 private:
  const std::shared_ptr<Connection> connection_;
  const std::uint64_t serial_;
  const std::optional<std::uint64_t> length_;
};

}  // namespace

void Hub::mark_dirty(std::shared_ptr<Connection> connection) {
  if (dirty.empty()) asio::post(io, [this] { flush_dirty(); });
  dirty.push_back(std::move(connection));
}

void Hub::flush_dirty() {
  auto batch = std::move(dirty);
  dirty.clear();
  for (auto& connection : batch) connection->flush();
}

void Hub::remove(const std::shared_ptr<Connection>& connection) {
  if (connections.erase(connection) == 0) return;
  count.store(static_cast<int>(connections.size()), std::memory_order_relaxed);
  if (connections.empty() && on_empty) on_empty();
}

void Connection::start() {
  error_code ignored;
  socket_.set_option(tcp::no_delay(true), ignored);
  socket_.non_blocking(true, ignored);
  error_code ec;
  const auto peer = socket_.remote_endpoint(ec);
  if (!ec) peer_ = peer.address().to_string();
  new_parser();
  read();
}

void Connection::new_parser() {
  parser_.emplace();
  parser_->eager(false);  // the header first: it tells what becomes of the body
  parser_->body_limit(boost::none);
  parser_->header_limit(static_cast<std::uint32_t>(hub_.options.max_header_bytes));
  header_seen_ = false;
  read_deadline_ = hub_.now() + hub_.options.idle_timeout;
}

void Connection::read() {
  if (reading_ || half_closed_ || state_ == State::kClosed) return;
  bool ahead = state_ == State::kAnswering || state_ == State::kStreaming;
  const std::size_t most = body_open_ ? 0 : kMaxPipelined;
  if (ahead && !wants_bytes() && in_.size() - in_used_ > most) return;
  reading_ = true;
  socket_.async_wait(tcp::socket::wait_read, [self = shared_from_this()](error_code ec) {
    self->reading_ = false;
    self->on_readable(ec);
  });
}

void Connection::on_read_error(error_code ec) {
  bool idle = state_ == State::kReading || state_ == State::kLingering;
  if (ec != asio::error::eof || !idle || buffered() == 0) return close();
  state_ = State::kLingering;  // no more requests, but the answer still has to leave
  half_closed_ = true;
}

void Connection::on_readable(error_code ec) {
  if (state_ == State::kClosed) return;
  std::size_t n = 0;
  if (!ec) n = socket_.read_some(asio::buffer(hub_.read_buffer), ec);
  if (ec == asio::error::would_block) return read();
  if (ec) return on_read_error(ec);
  if (state_ != State::kLingering) {
    bool first = in_.empty();
    in_.append(hub_.read_buffer.data(), n);
    if (state_ == State::kReading) {
      if (first && !header_seen_) read_deadline_ = hub_.now() + hub_.options.header_timeout;
      parse();
    } else if (wants_bytes()) {
      read_deadline_ = hub_.now() + hub_.options.body_timeout;
      parse();
    }
  }
  read();
}

// Runs every request whose bytes are here, unless one of them waits for its answer.
void Connection::parse() {
  if (parsing_) return;
  parsing_ = true;
  while (wants_bytes() && in_used_ < in_.size()) {
    std::size_t before = in_used_;
    parse_available();
    if (in_used_ == before && wants_bytes()) break;
  }
  if (in_used_ == in_.size()) {
    in_.clear();
    in_used_ = 0;
  } else if (in_used_ > kCompactAfter) {
    in_.erase(0, in_used_);
    in_used_ = 0;
  }
  parsing_ = false;
}

bool Connection::wants_bytes() const {
  if (state_ == State::kReading) return buffered() <= hub_.options.max_buffered_bytes;
  return body_open_ && !body_paused_;
}

void Connection::parse_available() {
  error_code ec;
  const std::string_view unread = std::string_view(in_).substr(in_used_);
  in_used_ += parser_->put(asio::buffer(in_.data() + in_used_, in_.size() - in_used_), ec);
  if (ec && ec != http::error::need_more) {
    if (body_open_) return close();
    if (ec == http::error::header_limit) return refuse(431, "the request's headers are too large");
    if (ec == http::error::body_limit) {
      return refuse(413, "the request's body is larger than " +
                             std::to_string(hub_.options.max_body_bytes) + " bytes");
    }
    if (ec == http::error::bad_version && names_http_version(unread)) {
      return refuse(505, "only HTTP/1.0 and HTTP/1.1 are spoken");
    }
    return refuse(400, "not a valid HTTP request: " + ec.message());
  }
  if (parser_->is_header_done() && !header_seen_ && !on_header()) return;
  if (!parser_->is_done()) return;
  if (state_ == State::kReading) return dispatch();
  if (body_open_) close_body();
}

// False when the request was refused.
bool Connection::on_header() {
  header_seen_ = true;
  read_deadline_ = hub_.now() + hub_.options.body_timeout;
  auto& message = parser_->get();
  auto fields = std::distance(message.begin(), message.end());
  if (fields > hub_.options.max_headers) {
    refuse(431, "the request has more than " + std::to_string(hub_.options.max_headers) + " headers");
    return false;
  }
  if (parser_->is_done()) return true;
  parser_->eager(true);
  const bool streaming = streams();
  if (!streaming) {
    const std::size_t most = hub_.options.max_body_bytes;
    const auto length = parser_->content_length();
    if (length && *length > most) {
      refuse(413, "the request's body is larger than " + std::to_string(most) + " bytes");
      return false;
    }
    parser_->body_limit(most);
    message.body().text.reserve(length.value_or(0));
  }
  if (auto expect = message[http::field::expect]; !expect.empty()) {
    if (!boost::beast::iequals(expect, "100-continue")) {
      refuse(417, "only the expectation 100-continue is known");
      return false;
    }
    out_ += "HTTP/1.1 100 Continue\r\n\r\n";
    flush();
  }
  if (streaming) open_body();
  return true;
}

bool Connection::streams() {
  return hub_.options.streams && !refused_ && hub_.options.streams(take_head());
}

// What the parser has of the request, without its body.
Request Connection::take_head() {
  const auto& message = parser_->get();
  Request request;
  request.method = std::string(message.method_string());
  request.target = std::string(message.target());
  request.headers.reserve(8);
  for (const auto& field : message) {
    request.headers.push_back({std::string(field.name_string()), std::string(field.value())});
  }
  request.peer = peer_;
  return request;
}

void Connection::dispatch() {
  Request request = take_head();
  request.body = std::move(parser_->get().body().text);
  handle(std::move(request));
}

void Connection::open_body() {
  body_open_ = body_paused_ = true;
  parser_->get().body().sink = [this](std::string_view data) {
    if (on_body_) on_body_(data);
  };
  const auto length = parser_->content_length();
  Request request = take_head();
  request.stream = std::make_shared<Body>(shared_from_this(), serial_ + 1, length ? std::optional<std::uint64_t>(*length) : std::nullopt);
  handle(std::move(request));
}

// All of it has come.
void Connection::close_body() {
  body_open_ = false;
  read_deadline_ = TimePoint::max();
  on_body_ = nullptr;
  if (auto callback = std::exchange(on_body_end_, nullptr)) callback();
}

void Connection::start_body(std::uint64_t serial, std::function<void(std::string_view)> on_data, std::function<void()> on_end) {
  if (!current(serial) || !body_open_) return;
  on_body_ = std::move(on_data);
  on_body_end_ = std::move(on_end);
  resume_body(serial);
}

void Connection::pause_body(std::uint64_t serial) {
  if (!current(serial) || !body_open_) return;
  body_paused_ = true;
  read_deadline_ = TimePoint::max();
}

void Connection::resume_body(std::uint64_t serial) {
  if (!current(serial) || !body_open_ || !std::exchange(body_paused_, false)) return;
  read_deadline_ = hub_.now() + hub_.options.body_timeout;
  asio::post(hub_.io, [self = shared_from_this()] {
    self->parse();
    self->read();
  });
}

void Connection::handle(Request&& request) {
  const auto& message = parser_->get();
  keep_alive_ = message.keep_alive() && !hub_.draining && !refused_;
  chunked_ = message.version() >= 11;
  head_only_ = request.method == "HEAD";
  if (head_only_) request.method = "GET";

  state_ = State::kAnswering;
  read_deadline_ = TimePoint::max();
  ++serial_;
  auto writer = std::make_shared<Writer>(hub_.io, shared_from_this(), serial_);
  if (refused_) {
    return writer->send({.status = 503,
                         .content_type = "text/plain",
                         .headers = {{"retry-after", "1"}},
                         .body = "too many connections\n"});
  }
  hub_.handler(std::move(request), std::move(writer));
}

// Answers a request that could not be read, then closes: what follows it can't be trusted.
void Connection::refuse(int status, std::string_view message) {
  keep_alive_ = false;
  head_only_ = false;
  state_ = State::kAnswering;
  std::string body = "{\"error\":{\"message\":\"" + std::string(message) +
                     "\",\"type\":\"BadRequestError\",\"param\":null,\"code\":" +
                     std::to_string(status) + "}}";
  send(++serial_, {.status = status, .body = std::move(body)});
}

void Connection::send(std::uint64_t serial, Response&& response) {
  if (!current(serial) || state_ != State::kAnswering) return;
  if (body_open_) keep_alive_ = false;
  out_ += format_head(response, {.keep_alive = keep_alive_});
  if (!head_only_) out_ += response.body;
  finish_answer();
}

void Connection::early(std::uint64_t serial, const std::vector<Header>& headers) {
  if (!current(serial) || state_ != State::kAnswering || !chunked_) return;
  out_ += "HTTP/1.1 103 Early Hints\r\n";
  for (const Header& h : headers) out_.append(h.name).append(": ").append(h.value).append("\r\n");
  out_ += "\r\n";
  if (std::exchange(dirty_, true)) return;
  hub_.mark_dirty(shared_from_this());
}

void Connection::begin(std::uint64_t serial, Response&& head) {
  if (!current(serial) || state_ != State::kAnswering) return;
  if (!chunked_ || body_open_) keep_alive_ = false;
  out_ += format_head(
      head, {.keep_alive = keep_alive_, .chunked = chunked_, .until_close = !chunked_});
  state_ = State::kStreaming;
  write(serial, head.body);
  if (!dirty_) {
    dirty_ = true;
    hub_.mark_dirty(shared_from_this());
  }
}

void Connection::write(std::uint64_t serial, std::string_view data) {
  if (!current(serial) || state_ != State::kStreaming || data.empty() || head_only_) return;
  if (buffered() + data.size() > hub_.options.max_buffered_bytes) {
    log_warning("client does not read its stream, dropped", {{"buffered", buffered()}});
    return close();
  }
  stream_ += data;
  if (dirty_) return;
  dirty_ = true;
  hub_.mark_dirty(shared_from_this());
}

void Connection::frame_stream() {
  if (stream_.empty()) return;
  if (chunked_) {
    append_chunk(out_, stream_);
  } else {
    out_ += stream_;
  }
  stream_.clear();
}

void Connection::end(std::uint64_t serial) {
  if (!current(serial) || state_ != State::kStreaming) return;
  frame_stream();
  if (chunked_ && !head_only_) out_ += "0\r\n\r\n";
  finish_answer();
}

void Connection::abort(std::uint64_t serial) {
  if (!current(serial)) return;
  on_close_ = nullptr;
  close();
}

void Connection::on_drained(std::uint64_t serial, std::function<void()> callback) {
  if (current(serial)) on_drained_ = std::move(callback);
}

void Connection::on_close(std::uint64_t serial, std::function<void()> callback) {
  if (current(serial)) on_close_ = std::move(callback);
}

void Connection::finish_answer() {
  on_close_ = nullptr;
  on_drained_ = nullptr;
  if (hub_.draining || body_open_) keep_alive_ = false;
  body_open_ = false;
  if (keep_alive_) {
    state_ = State::kReading;
    new_parser();
    if (in_used_ < in_.size()) read_deadline_ = hub_.now() + hub_.options.header_timeout;
  } else {
    state_ = State::kLingering;
    read_deadline_ = TimePoint::max();
  }
  if (!dirty_) {
    dirty_ = true;
    hub_.mark_dirty(shared_from_this());
  }
}

void Connection::flush() {
  dirty_ = false;
  if (state_ == State::kClosed) return;
  frame_stream();
  if (!writing_.empty()) return;
  if (out_.empty()) {
    if (auto callback = std::exchange(on_drained_, nullptr)) return callback();
    if (state_ == State::kLingering) return linger();
    if (state_ == State::kReading) {
      parse();
      if (hub_.draining) begin_drain();
      read();
    }
    return;
  }
  writing_.swap(out_);
  written_ = 0;
  touch_write();
  auto on_progress = [this](const error_code& ec, std::size_t done) -> std::size_t {
    if (ec) return 0;
    if (done > written_) touch_write();
    written_ = done;
    return kMostPerWrite;
  };
  asio::async_write(socket_, asio::buffer(writing_), on_progress,
                    [self = shared_from_this()](error_code ec, std::size_t) {
                      self->writing_.clear();
                      self->written_ = 0;
                      self->write_deadline_ = TimePoint::max();
                      if (ec) return self->close();
                      self->flush();
                    });
}

// The last answer is sent: tell the client so, and wait a little for it to close.
void Connection::linger() {
  if (half_closed_) return close();
  if (read_deadline_ != TimePoint::max()) return;
  error_code ignored;
  socket_.shutdown(tcp::socket::shutdown_send, ignored);
  read_deadline_ = hub_.now() + kLinger;
  read();
}

void Connection::close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  auto self = shared_from_this();
  error_code ignored;
  socket_.close(ignored);
  hub_.remove(self);
  on_drained_ = nullptr;
  body_open_ = false;
  if (auto callback = std::exchange(on_close_, nullptr)) callback();
}

void Connection::check_deadline(TimePoint now) {
  if (now > write_deadline_) return close();
  if (now <= read_deadline_) return;
  bool started = header_seen_ || in_used_ < in_.size();
  if (state_ == State::kReading && started) return refuse(408, "the request did not arrive in time");
  close();
}

void Connection::begin_drain() {
  keep_alive_ = false;
  if (state_ == State::kReading && !header_seen_ && in_.empty() && buffered() == 0) close();
}

}  // namespace braid::net
