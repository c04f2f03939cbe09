// SPDX-License-Identifier: Apache-2.0
// One client of the HTTP server: reads requests, one after the other, and writes their answers.
// Internal to the server. Thread rules: I/O thread only.
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/http/parser.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "net/http_server.h"
#include "net/request_body.h"

namespace braid::net {

class Connection;

// What connections share; lives on the I/O thread.
struct Hub {
  HttpServerOptions options;
  Handler handler;
  boost::asio::io_context& io;
  std::array<char, 64u << 10> read_buffer{};  // of the one read that is in progress
  std::unordered_set<std::shared_ptr<Connection>> connections;
  std::vector<std::shared_ptr<Connection>> dirty;  // have output to send at the end of this task
  std::atomic<int> count{0};
  bool draining = false;
  std::function<void()> on_empty;

  TimePoint now() const { return std::chrono::steady_clock::now(); }
  void mark_dirty(std::shared_ptr<Connection> connection);
  void flush_dirty();
  void remove(const std::shared_ptr<Connection>& connection);
};

// One client. States of the current request: reading it, answering it, streaming the answer;
// lingering is after the last answer, while what the client still sends is thrown away so that
// it can read that answer.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Hub& hub, boost::asio::ip::tcp::socket socket, bool refused)
      : hub_(hub), socket_(std::move(socket)), refused_(refused) {}

  void start();
  void close();
  void flush();
  void check_deadline(TimePoint now);
  void begin_drain();

  // For the writer of request `serial`.
  bool current(std::uint64_t serial) const {
    return serial == serial_ && (state_ == State::kAnswering || state_ == State::kStreaming);
  }
  void send(std::uint64_t serial, Response&& response);
  void early(std::uint64_t serial, const std::vector<Header>& headers);
  void begin(std::uint64_t serial, Response&& head);
  void write(std::uint64_t serial, std::string_view data);
  void end(std::uint64_t serial);
  void abort(std::uint64_t serial);
  void on_close(std::uint64_t serial, std::function<void()> callback);
  void on_drained(std::uint64_t serial, std::function<void()> callback);
  void start_body(std::uint64_t serial, std::function<void(std::string_view)> on_data, std::function<void()> on_end);
  void pause_body(std::uint64_t serial);
  void resume_body(std::uint64_t serial);
  std::size_t buffered() const { return out_.size() + stream_.size() + writing_.size() - written_; }

 private:
  enum class State { kReading, kAnswering, kStreaming, kLingering, kClosed };
  using Parser = boost::beast::http::request_parser<RequestBody>;

  void new_parser();
  void read();
  void on_readable(boost::system::error_code ec);
  void on_read_error(boost::system::error_code ec);
  void parse();
  void parse_available();
  bool on_header();
  bool streams();
  Request take_head();
  void dispatch();
  void open_body();
  void close_body();
  void handle(Request&& request);
  bool wants_bytes() const;
  void refuse(int status, std::string_view message);
  void finish_answer();
  void frame_stream();
  void touch_write() { write_deadline_ = hub_.now() + hub_.options.write_timeout; }
  void linger();

  Hub& hub_;
  boost::asio::ip::tcp::socket socket_;
  const bool refused_;
  std::string peer_;
  State state_ = State::kReading;
  std::optional<Parser> parser_;
  std::string in_;
  std::size_t in_used_ = 0;
  bool reading_ = false;
  bool parsing_ = false;
  bool header_seen_ = false;
  bool keep_alive_ = true;
  bool head_only_ = false;
  bool chunked_ = true;
  bool dirty_ = false;
  bool half_closed_ = false;
  bool body_open_ = false;  // the request that is being answered streams its body, and more of it comes
  bool body_paused_ = false;
  std::function<void(std::string_view)> on_body_;
  std::function<void()> on_body_end_;
  std::uint64_t serial_ = 0;
  std::function<void()> on_close_;
  std::function<void()> on_drained_;
  std::string out_;     // framed, to be sent
  std::string stream_;  // stream data of this task, framed as one chunk at its end
  std::string writing_;
  std::size_t written_ = 0;
  TimePoint read_deadline_ = TimePoint::max();
  TimePoint write_deadline_ = TimePoint::max();
};

}  // namespace braid::net
