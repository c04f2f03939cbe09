// SPDX-License-Identifier: Apache-2.0
// Sockets of ZeroMQ. The library is opened with the first context: processes that never speak it need
// not have it.
// Thread rules: a socket belongs to one thread at a time.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace braid::events {

enum class SocketKind { kPublish, kSubscribe, kRouter, kDealer };

class Socket {
 public:
  virtual ~Socket() = default;
  // Errors name the address.
  virtual Status bind(const std::string& address) = 0;
  virtual Status connect(const std::string& address) = 0;
  // The address that it is bound to, with the port that was taken for "*".
  virtual std::string bound() const = 0;
  virtual Status subscribe(const std::string& topic) = 0;
  // One message of several parts; false when it could not be taken at once.
  virtual bool send(const std::vector<std::string_view>& parts) = 0;
  // The next message that is there; empty when there is none.
  virtual std::vector<std::string> receive() = 0;
};

class Context {
 public:
  virtual ~Context() = default;
  // The error says what to install.
  static Result<std::unique_ptr<Context>> create();
  // `most_waiting`: messages for or from a peer; 0: no limit. The context outlives its sockets.
  virtual Result<std::unique_ptr<Socket>> socket(SocketKind kind, int most_waiting) = 0;
  // Returns when one of `sockets` has a message, `fd` can be read, or `timeout` is over.
  virtual void wait(std::span<Socket* const> sockets, int fd, Duration timeout) = 0;
  // The same for one socket, which may be null.
  void wait(Socket* socket, int fd, Duration timeout) { wait(std::span<Socket* const>(&socket, socket ? 1 : 0), fd, timeout); }
};

}  // namespace braid::events
