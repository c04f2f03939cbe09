// SPDX-License-Identifier: Apache-2.0
#include "events/publisher.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <deque>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "base/thread_name.h"
#include "events/zmq.h"

namespace braid::events {
namespace {

constexpr Duration kLook = std::chrono::seconds(1);

std::string big_endian(std::uint64_t number) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(number >> shift);
  return bytes;
}

std::uint64_t number_of(const std::string& bytes) {
  std::uint64_t number = 0;
  for (const char b : bytes) number = number << 8 | static_cast<unsigned char>(b);
  return number;
}

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

bool is_bound(const std::string& address) {
  return address.find('*') != address.npos || address.find("::") != address.npos || address.starts_with("ipc://") ||
         address.starts_with("inproc://");
}

struct Batch {
  std::uint64_t number = 0;
  double time = 0;
  std::vector<kv::CacheEvent> events;
};

struct Sent {
  std::string number;
  std::vector<std::uint8_t> payload;
};

std::string_view view(const std::vector<std::uint8_t>& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

struct Sockets {
  std::unique_ptr<Context> context;
  std::unique_ptr<Socket> publication;
  std::unique_ptr<Socket> replay;  // or null
  std::string endpoint, replay_endpoint;
};

class ZmqPublisher final : public Publisher {
 public:
  ZmqPublisher(const Settings& settings, const Form& form, Sockets sockets)
      : settings_(settings), form_(form), sockets_(std::move(sockets)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), thread_([this] { run(); }) {}

  ~ZmqPublisher() override {
    stopping_ = true;
    ring();
    thread_.join();
    close(wake_);
  }

  void publish(std::vector<kv::CacheEvent> events) override {
    {
      std::lock_guard lock(mutex_);
      const std::uint64_t number = next_++;
      if (waiting_.size() >= static_cast<std::size_t>(settings_.max_queue_size)) {
        if (!overflowed_) log_warning("cache events are lost; more than kv-events-config.max-queue-size wait to be sent", {{"number", number}});
        overflowed_ = true;
        return;
      }
      overflowed_ = false;
      waiting_.push_back({number, unix_seconds(), std::move(events)});
    }
    ring();
  }

  std::string endpoint() const override { return sockets_.endpoint; }
  std::string replay_endpoint() const override { return sockets_.replay_endpoint; }

 private:
  void ring() {
    const std::uint64_t one = 1;
    (void)!write(wake_, &one, sizeof one);
  }

  void run() {
    name_this_thread("braid-events");
    bool last = false;
    while (!last) {
      last = stopping_;
      if (!last) sockets_.context->wait(sockets_.replay.get(), wake_, kLook);
      std::uint64_t rings = 0;
      (void)!read(wake_, &rings, sizeof rings);
      std::deque<Batch> batches;
      {
        std::lock_guard lock(mutex_);
        batches.swap(waiting_);
      }
      for (const Batch& batch : batches) send(batch);
      if (sockets_.replay) answer();
    }
  }

  void send(const Batch& batch) {
    Sent sent{big_endian(batch.number), encode(batch.time, batch.events, form_)};
    sockets_.publication->send({settings_.topic, sent.number, view(sent.payload)});
    if (!sockets_.replay) return;
    kept_.push_back(std::move(sent));
    if (kept_.size() > static_cast<std::size_t>(settings_.buffer_steps)) kept_.pop_front();
  }

  void answer() {
    for (auto request = sockets_.replay->receive(); !request.empty(); request = sockets_.replay->receive()) {
      if (request.size() != 3 || request[2].size() != 8) continue;
      const std::uint64_t first = number_of(request[2]);
      for (const Sent& sent : kept_) {
        if (number_of(sent.number) >= first) sockets_.replay->send({request[0], "", sent.number, view(sent.payload)});
      }
      sockets_.replay->send({request[0], "", big_endian(~std::uint64_t{0}), ""});
    }
  }

  const Settings settings_;
  const Form form_;
  const Sockets sockets_;
  std::deque<Sent> kept_;  // of the thread
  const int wake_;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::deque<Batch> waiting_;
  std::uint64_t next_ = 0;
  bool overflowed_ = false;
  std::thread thread_;  // last: it uses all of the above
};

Status attach(Socket& socket, const std::string& address, bool bind, std::string& shown) {
  RETURN_IF_ERROR(bind ? socket.bind(address) : socket.connect(address));
  shown = bind ? socket.bound() : address;
  return {};
}

Result<Sockets> open(const Settings& settings, int rank) {
  Sockets sockets;
  ASSIGN_OR_RETURN(const std::string address, address_of(settings.endpoint, rank));
  ASSIGN_OR_RETURN(sockets.context, Context::create());
  ASSIGN_OR_RETURN(sockets.publication, sockets.context->socket(SocketKind::kPublish, settings.hwm));
  RETURN_IF_ERROR(attach(*sockets.publication, address, is_bound(address), sockets.endpoint));
  if (!settings.replay_endpoint) return sockets;
  ASSIGN_OR_RETURN(const std::string replay, address_of(*settings.replay_endpoint, rank));
  ASSIGN_OR_RETURN(sockets.replay, sockets.context->socket(SocketKind::kRouter, 0));
  RETURN_IF_ERROR(attach(*sockets.replay, replay, true, sockets.replay_endpoint));
  return sockets;
}

}  // namespace

Result<std::string> address_of(const std::string& endpoint, int rank) {
  if (rank == 0) return endpoint;
  if (!endpoint.starts_with("tcp://")) return endpoint + "_dp" + std::to_string(rank);
  const std::size_t colon = endpoint.rfind(':');
  const char* const end = endpoint.data() + endpoint.size();
  int port = 0;
  const auto [rest, error] = std::from_chars(endpoint.data() + colon + 1, end, port);
  if (endpoint.ends_with(":*")) return endpoint;
  if (error != std::errc() || rest != end || port < 1 || port + rank > 65535) {
    return invalid_argument("'" + endpoint + "' has no port that can be raised for rank " + std::to_string(rank) + "; write tcp://*:5557", "kv-events-config");
  }
  return endpoint.substr(0, colon + 1) + std::to_string(port + rank);
}

Result<std::unique_ptr<Publisher>> publisher(const Settings& settings, int block_size, int rank) {
  auto sockets = open(settings, rank);
  if (!sockets.ok()) return sockets.error().within("kv-events-config");
  const Form form{settings.format == "map", settings.int_block_hashes, block_size, rank};
  log_info("cache events", {{"rank", rank}, {"endpoint", sockets->endpoint}, {"replay", sockets->replay_endpoint}, {"topic", settings.topic}});
  return std::unique_ptr<Publisher>(new ZmqPublisher(settings, form, std::move(*sockets)));
}

}  // namespace braid::events
