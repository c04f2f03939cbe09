// SPDX-License-Identifier: Apache-2.0
// Control connections between the processes of one deployment: framed messages over TCP, opened with
// a shared secret. Not for tokens or weights. Frame: u32 length of what follows, u8 type, payload;
// numbers little-endian.
//
// A listener binds to the one address it is given. The first frame of a connection must carry the
// secret; anything else is closed without an answer.
// Thread rules: send() from any thread; receive() from one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace braid::fabric {

struct Frame {
  std::uint8_t type = 0;
  std::string payload;
};

class Connection {
 public:
  // Errors name the address. Retries until `deadline`, since peers start in any order.
  static Result<std::unique_ptr<Connection>> connect(const std::string& host, int port, const std::string& secret,
                                                     const std::string& hello, TimePoint deadline);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  Status send(std::uint8_t type, std::string_view payload);
  // kDeadlineExceeded when no whole frame comes in time (the next call goes on with it), kUnavailable when the peer has closed.
  Result<Frame> receive(TimePoint deadline);
  // This machine's address on it, in numbers.
  std::string local_address() const;
  // Makes receive() and send() fail from now on. From any thread.
  void close();

 private:
  friend class Listener;
  explicit Connection(int fd) : fd_(fd) {}
  Status fill(std::size_t bytes, TimePoint deadline);

  const int fd_;
  std::mutex sending_;
  std::string begun_;  // bytes of a frame that has not come as a whole
};

class Listener {
 public:
  // Port 0 takes a free one.
  static Result<std::unique_ptr<Listener>> open(const std::string& host, int port, const std::string& secret);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int port() const { return port_; }
  struct Accepted {
    std::unique_ptr<Connection> connection;
    std::string hello;
  };
  // The next peer that knew the secret; kDeadlineExceeded when none came.
  Result<Accepted> accept(TimePoint deadline);

 private:
  Listener(int fd, int port, std::string secret) : fd_(fd), port_(port), secret_(std::move(secret)) {}

  const int fd_;
  const int port_;
  const std::string secret_;
};

// 32 random bytes in hexadecimal.
std::string make_secret();

}  // namespace braid::fabric
