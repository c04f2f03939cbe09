// SPDX-License-Identifier: Apache-2.0
// A plain blocking socket for tests that misbehave on purpose.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <string_view>

namespace braid::net {

class TestSocket {
 public:
  explicit TestSocket(int port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    timeval wait{20, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
  }
  ~TestSocket() { close(); }
  TestSocket(const TestSocket&) = delete;
  TestSocket& operator=(const TestSocket&) = delete;

  bool connected() const { return connected_; }
  void send(std::string_view bytes) const {
    while (!bytes.empty()) {
      auto n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  void half_close() const { ::shutdown(fd_, SHUT_WR); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

  // Whether the last read found that the server had closed.
  bool ended() const { return ended_; }
  // Everything until the server closes (or the receive timeout).
  std::string read_all() { return read_until(""); }
  // Everything up to and including `mark`; until the end when it never comes.
  std::string read_until(std::string_view mark) {
    std::string got;
    char buffer[4096];
    while (mark.empty() || got.find(mark) == std::string::npos) {
      auto n = ::recv(fd_, buffer, mark.empty() ? sizeof buffer : 1, 0);
      ended_ = n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
      if (n <= 0) break;
      got.append(buffer, static_cast<std::size_t>(n));
    }
    return got;
  }

 private:
  int fd_;
  bool connected_ = false;
  bool ended_ = false;
};

}  // namespace braid::net
