// SPDX-License-Identifier: Apache-2.0
#include "events/zmq.h"

#include <dlfcn.h>
#include <zmq.h>

#include <type_traits>

namespace braid::events {
namespace {

constexpr int kLingerMs = 500;

// ZeroMQ's functions, by their names without "zmq_".
struct Library {
  decltype(&zmq_ctx_new) ctx_new = nullptr;
  decltype(&zmq_ctx_term) ctx_term = nullptr;
  decltype(&zmq_socket) socket = nullptr;
  decltype(&zmq_close) close = nullptr;
  decltype(&zmq_setsockopt) setsockopt = nullptr;
  decltype(&zmq_getsockopt) getsockopt = nullptr;
  decltype(&zmq_bind) bind = nullptr;
  decltype(&zmq_connect) connect = nullptr;
  decltype(&zmq_send) send = nullptr;
  decltype(&zmq_msg_init) msg_init = nullptr;
  decltype(&zmq_msg_recv) msg_recv = nullptr;
  decltype(&zmq_msg_data) msg_data = nullptr;
  decltype(&zmq_msg_size) msg_size = nullptr;
  decltype(&zmq_msg_close) msg_close = nullptr;
  decltype(&zmq_poll) poll = nullptr;
  decltype(&zmq_errno) error = nullptr;
  decltype(&zmq_strerror) error_text = nullptr;
};

Result<Library> open() {
  void* handle = dlopen("libzmq.so.5", RTLD_NOW | RTLD_LOCAL);
  if (!handle) return Error{ErrorCode::kUnavailable, std::string("cache events need ZeroMQ: ") + dlerror() + "; install the package libzmq5", {}};
  Library l;
  std::string missing;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
    if (!function) missing = name;
  };
  find(l.ctx_new, "zmq_ctx_new");
  find(l.ctx_term, "zmq_ctx_term");
  find(l.socket, "zmq_socket");
  find(l.close, "zmq_close");
  find(l.setsockopt, "zmq_setsockopt");
  find(l.getsockopt, "zmq_getsockopt");
  find(l.bind, "zmq_bind");
  find(l.connect, "zmq_connect");
  find(l.send, "zmq_send");
  find(l.msg_init, "zmq_msg_init");
  find(l.msg_recv, "zmq_msg_recv");
  find(l.msg_data, "zmq_msg_data");
  find(l.msg_size, "zmq_msg_size");
  find(l.msg_close, "zmq_msg_close");
  find(l.poll, "zmq_poll");
  find(l.error, "zmq_errno");
  find(l.error_text, "zmq_strerror");
  if (!missing.empty()) return Error{ErrorCode::kUnavailable, "this machine's ZeroMQ has no function " + missing + "; Braid needs 4.3 or newer", {}};
  return l;
}

Result<const Library*> library() {
  static const Result<Library> opened = open();
  if (!opened.ok()) return opened.error();
  return &*opened;
}

int type_of(SocketKind kind) {
  switch (kind) {
    case SocketKind::kPublish: return ZMQ_PUB;
    case SocketKind::kSubscribe: return ZMQ_SUB;
    case SocketKind::kRouter: return ZMQ_ROUTER;
    case SocketKind::kDealer: break;
  }
  return ZMQ_DEALER;
}

class ZmqSocket final : public Socket {
 public:
  ZmqSocket(const Library& library, void* socket) : library_(library), socket_(socket) {}
  ~ZmqSocket() override { library_.close(socket_); }

  Status bind(const std::string& address) override { return checked(library_.bind(socket_, address.c_str()), "listen at", address); }
  Status connect(const std::string& address) override { return checked(library_.connect(socket_, address.c_str()), "connect to", address); }

  std::string bound() const override {
    char text[256] = "";
    std::size_t size = sizeof text;
    library_.getsockopt(socket_, ZMQ_LAST_ENDPOINT, text, &size);
    return text;
  }

  Status subscribe(const std::string& topic) override {
    return checked(library_.setsockopt(socket_, ZMQ_SUBSCRIBE, topic.data(), topic.size()), "subscribe to", topic);
  }

  void set(int option, int value) { library_.setsockopt(socket_, option, &value, sizeof value); }

  bool send(const std::vector<std::string_view>& parts) override {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const int more = i + 1 < parts.size() ? ZMQ_SNDMORE : 0;
      if (library_.send(socket_, parts[i].data(), parts[i].size(), ZMQ_DONTWAIT | more) < 0) return false;
    }
    return true;
  }

  std::vector<std::string> receive() override {
    std::vector<std::string> parts;
    int more = 1;
    while (more) {
      zmq_msg_t message;
      library_.msg_init(&message);
      if (library_.msg_recv(&message, socket_, ZMQ_DONTWAIT) < 0) {
        library_.msg_close(&message);
        return {};
      }
      parts.emplace_back(static_cast<const char*>(library_.msg_data(&message)), library_.msg_size(&message));
      library_.msg_close(&message);
      std::size_t size = sizeof more;
      library_.getsockopt(socket_, ZMQ_RCVMORE, &more, &size);
    }
    return parts;
  }

  void* handle() const { return socket_; }

 private:
  Status checked(int result, const char* what, const std::string& address) const {
    if (result == 0) return {};
    return invalid_argument(std::string("cannot ") + what + " '" + address + "' over ZeroMQ: " + library_.error_text(library_.error()));
  }

  const Library& library_;
  void* const socket_;
};

class ZmqContext final : public Context {
 public:
  explicit ZmqContext(const Library& library) : library_(library), context_(library.ctx_new()) {}
  ~ZmqContext() override { library_.ctx_term(context_); }

  Result<std::unique_ptr<Socket>> socket(SocketKind kind, int most_waiting) override {
    void* const handle = library_.socket(context_, type_of(kind));
    if (!handle) return internal_error(std::string("cannot make a ZeroMQ socket: ") + library_.error_text(library_.error()));
    auto socket = std::make_unique<ZmqSocket>(library_, handle);
    socket->set(ZMQ_SNDHWM, most_waiting);
    socket->set(ZMQ_RCVHWM, most_waiting);
    socket->set(ZMQ_LINGER, kLingerMs);
    return std::unique_ptr<Socket>(std::move(socket));
  }

  void wait(std::span<Socket* const> sockets, int fd, Duration timeout) override {
    std::vector<zmq_pollitem_t> items{{nullptr, fd, ZMQ_POLLIN, 0}};
    for (Socket* socket : sockets) items.push_back({static_cast<ZmqSocket*>(socket)->handle(), 0, ZMQ_POLLIN, 0});
    library_.poll(items.data(), static_cast<int>(items.size()), std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count());
  }

 private:
  const Library& library_;
  void* const context_;
};

}  // namespace

Result<std::unique_ptr<Context>> Context::create() {
  ASSIGN_OR_RETURN(const Library* const library, events::library());
  return std::unique_ptr<Context>(new ZmqContext(*library));
}

}  // namespace braid::events
