// SPDX-License-Identifier: Apache-2.0
#include "fabric/connection.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace braid::fabric {
namespace {

constexpr std::uint8_t kHello = 255;
constexpr std::size_t kMostBytes = std::size_t{1} << 30;
constexpr Duration kRetry = std::chrono::milliseconds(20);
constexpr Duration kHelloTime = std::chrono::seconds(5);

Error failure(ErrorCode code, const std::string& what) { return {code, what, {}}; }
Error system_failure(const std::string& what) { return failure(ErrorCode::kUnavailable, what + ": " + std::strerror(errno)); }

TimePoint now() { return std::chrono::steady_clock::now(); }

// False when the time is over.
bool wait_for(int fd, short events, TimePoint deadline) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - now()).count();
    if (left < 0) return false;
    pollfd p{fd, events, 0};
    const int n = poll(&p, 1, static_cast<int>(std::min<long long>(left + 1, 1000)));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return true;
  }
}

struct Addresses {
  addrinfo* list = nullptr;
  ~Addresses() {
    if (list) freeaddrinfo(list);
  }
};

Status resolve(const std::string& host, int port, bool passive, Addresses& to) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = passive ? AI_PASSIVE : 0;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &to.list);
  if (error == 0) return Status::success();
  return failure(ErrorCode::kInvalidArgument, "cannot resolve the address '" + host + "': " + gai_strerror(error));
}

bool equal_secrets(const std::string& a, const std::string& b) {
  unsigned char different = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) different |= static_cast<unsigned char>(a[i] ^ b[i]);
  return different == 0;
}

}  // namespace

Result<std::unique_ptr<Connection>> Connection::connect(const std::string& host, int port, const std::string& secret,
                                                        const std::string& hello, TimePoint deadline) {
  const std::string where = host + ":" + std::to_string(port);
  Addresses found;
  RETURN_IF_ERROR(resolve(host, port, false, found));
  for (;;) {
    const int fd = socket(found.list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return system_failure("cannot make a socket");
    if (::connect(fd, found.list->ai_addr, found.list->ai_addrlen) == 0) {
      const int one = 1;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      std::unique_ptr<Connection> connection(new Connection(fd));
      RETURN_IF_ERROR(connection->send(kHello, secret + "\n" + hello));
      return connection;
    }
    const Error error = system_failure("cannot connect to " + where);
    ::close(fd);
    if (now() + kRetry >= deadline) return error;
    wait_for(-1, 0, now() + kRetry);
  }
}

Connection::~Connection() { ::close(fd_); }

void Connection::close() { shutdown(fd_, SHUT_RDWR); }

std::string Connection::local_address() const {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  char host[NI_MAXHOST] = "";
  getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
  getnameinfo(reinterpret_cast<sockaddr*>(&address), size, host, sizeof host, nullptr, 0, NI_NUMERICHOST);
  return host;
}

Status Connection::send(std::uint8_t type, std::string_view payload) {
  std::string bytes(5, '\0');
  const auto length = static_cast<std::uint32_t>(payload.size() + 1);
  std::memcpy(bytes.data(), &length, 4);
  bytes[4] = static_cast<char>(type);
  bytes += payload;
  std::lock_guard lock(sending_);
  for (std::size_t at = 0; at < bytes.size();) {
    const ssize_t n = ::send(fd_, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return system_failure("a control connection broke");
    at += static_cast<std::size_t>(n);
  }
  return Status::success();
}

// Until `begun_` has so many bytes.
Status Connection::fill(std::size_t bytes, TimePoint deadline) {
  std::size_t at = begun_.size();
  begun_.resize(std::max(at, bytes));
  Status status = Status::success();
  while (at < bytes) {
    if (!wait_for(fd_, POLLIN, deadline)) {
      status = failure(ErrorCode::kDeadlineExceeded, "nothing came over a control connection in time");
      break;
    }
    const ssize_t n = recv(fd_, begun_.data() + at, bytes - at, MSG_DONTWAIT);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) {
      status = n == 0 ? Status(failure(ErrorCode::kUnavailable, "the other end closed a control connection")) : system_failure("a control connection broke");
      break;
    }
    at += static_cast<std::size_t>(n);
  }
  begun_.resize(at);
  return status;
}

Result<Frame> Connection::receive(TimePoint deadline) {
  constexpr std::size_t kHead = 5;
  RETURN_IF_ERROR(fill(kHead, deadline));
  std::uint32_t length = 0;
  std::memcpy(&length, begun_.data(), 4);
  if (length == 0 || length > kMostBytes) return failure(ErrorCode::kUnavailable, "a control connection sent a frame of " + std::to_string(length) + " bytes");
  RETURN_IF_ERROR(fill(kHead + length - 1, deadline));
  Frame frame{static_cast<std::uint8_t>(begun_[4]), begun_.substr(kHead)};
  begun_.clear();
  return frame;
}

Result<std::unique_ptr<Listener>> Listener::open(const std::string& host, int port, const std::string& secret) {
  Addresses found;
  RETURN_IF_ERROR(resolve(host, port, true, found));
  const int fd = socket(found.list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return system_failure("cannot make a socket");
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, found.list->ai_addr, found.list->ai_addrlen) != 0 || listen(fd, 64) != 0) {
    const Error error = system_failure("cannot listen on " + host + ":" + std::to_string(port));
    ::close(fd);
    return error;
  }
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
  const int taken = bound.ss_family == AF_INET6 ? ntohs(reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port)
                                                : ntohs(reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
  return std::unique_ptr<Listener>(new Listener(fd, taken, secret));
}

Listener::~Listener() { ::close(fd_); }

Result<Listener::Accepted> Listener::accept(TimePoint deadline) {
  for (;;) {
    if (!wait_for(fd_, POLLIN, deadline)) return failure(ErrorCode::kDeadlineExceeded, "nobody connected to port " + std::to_string(port_) + " in time");
    const int fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    std::unique_ptr<Connection> connection(new Connection(fd));
    const auto frame = connection->receive(now() + kHelloTime);
    if (!frame.ok() || frame->type != kHello) continue;
    const auto line = frame->payload.find('\n');
    if (line == std::string::npos || !equal_secrets(frame->payload.substr(0, line), secret_)) continue;
    return Accepted{std::move(connection), frame->payload.substr(line + 1)};
  }
}

std::string make_secret() {
  unsigned char bytes[32];
  CHECK(getrandom(bytes, sizeof bytes, 0) == static_cast<ssize_t>(sizeof bytes));
  std::string text;
  for (const unsigned char b : bytes) {
    text += "0123456789abcdef"[b >> 4];
    text += "0123456789abcdef"[b & 15];
  }
  return text;
}

}  // namespace braid::fabric
