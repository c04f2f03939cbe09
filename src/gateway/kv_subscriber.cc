// SPDX-License-Identifier: Apache-2.0
#include "gateway/kv_subscriber.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "base/thread_name.h"
#include "events/zmq.h"

namespace braid::gateway {
namespace {

constexpr int kMostWaiting = 100000;
constexpr std::size_t kMostAtOnce = 1000;
constexpr Duration kLook = std::chrono::seconds(1);
constexpr Duration kReplayIdle = std::chrono::seconds(2);
constexpr Duration kReplayLongest = std::chrono::minutes(2);

std::uint64_t big_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<std::uint8_t>(c);
  return value;
}

std::string big_endian(std::uint64_t number) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(number >> shift);
  return bytes;
}

std::string address_of(const router::EndpointId& id, int port) {
  router::EndpointId place = id;
  place.port = port + id.rank;
  return "tcp://" + place.host_port();
}

class Subscriber final : public KvSubscriber {
 public:
  Subscriber(const router::KvFeedSettings& settings, Deliver deliver, std::unique_ptr<events::Context> context, std::unique_ptr<events::Socket> central)
      : settings_(settings), deliver_(std::move(deliver)), context_(std::move(context)), central_(std::move(central)),
        wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), thread_([this] { run(); }) {}

  ~Subscriber() override {
    ending_ = true;
    wake();
    thread_.join();
    replays_.clear();
    dialled_.clear();
    central_.reset();
    close(wake_);
  }

  void follow(std::vector<router::EndpointId> endpoints) override {
    {
      const std::lock_guard lock(mutex_);
      wanted_ = std::move(endpoints);
      changed_ = true;
    }
    wake();
  }

  void replay(const router::ReplayRequest& request) override {
    {
      const std::lock_guard lock(mutex_);
      asked_.push_back(request);
    }
    wake();
  }

 private:
  struct Dialled {
    router::EndpointId id;
    std::unique_ptr<events::Socket> socket;
  };
  struct Replay {
    std::unique_ptr<events::Socket> socket;
    TimePoint started{};
    TimePoint heard{};
  };

  void wake() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = write(wake_, &one, sizeof one);
  }

  void run() {
    name_this_thread("braid-kv-events");
    while (!ending_) {
      wait();
      obey();
      std::vector<KvMessage> messages;
      if (central_) listen(*central_, nullptr, messages);
      for (auto& [name, dialled] : dialled_) listen(*dialled.socket, &name, messages);
      for (auto replay = replays_.begin(); replay != replays_.end();) {
        replay = hear(replay->first, replay->second, messages) ? std::next(replay) : replays_.erase(replay);
      }
      if (!messages.empty() && !ending_) deliver_(std::move(messages));
    }
  }

  void wait() {
    std::vector<events::Socket*> sockets;
    if (central_) sockets.push_back(central_.get());
    for (const auto& [name, dialled] : dialled_) sockets.push_back(dialled.socket.get());
    for (const auto& [name, replay] : replays_) sockets.push_back(replay.socket.get());
    context_->wait(sockets, wake_, kLook);
    std::uint64_t count = 0;
    [[maybe_unused]] const auto taken = read(wake_, &count, sizeof count);
  }

  void obey() {
    std::vector<router::ReplayRequest> asked;
    bool changed = false;
    {
      const std::lock_guard lock(mutex_);
      asked.swap(asked_);
      changed = std::exchange(changed_, false);
      if (changed) following_ = wanted_;
    }
    if (changed) redial();
    for (const router::ReplayRequest& request : asked) ask(request);
  }

  void redial() {
    if (central_) return;
    std::map<std::string, Dialled> kept;
    for (const router::EndpointId& id : following_) {
      const auto found = dialled_.find(id.name);
      if (found != dialled_.end() && found->second.id == id) {
        kept.emplace(id.name, std::move(found->second));
        continue;
      }
      auto socket = dial(events::SocketKind::kSubscribe, address_of(id, settings_.port));
      if (socket) kept.emplace(id.name, Dialled{id, std::move(socket)});
    }
    dialled_ = std::move(kept);
  }

  std::unique_ptr<events::Socket> dial(events::SocketKind kind, const std::string& address) {
    auto socket = context_->socket(kind, kMostWaiting);
    Status status = socket.ok() ? (*socket)->connect(address) : Status(socket.error());
    if (status.ok() && kind == events::SocketKind::kSubscribe) status = (*socket)->subscribe("");
    if (status.ok()) return std::move(*socket);
    log_warning("KV events cannot be listened to", {{"why", status.error().message}});
    return nullptr;
  }

  const router::EndpointId* find(const std::string& source) const {
    for (const router::EndpointId& id : following_) {
      if (id.name == source || id.host_port() == source) return &id;
    }
    return nullptr;
  }

  void ask(const router::ReplayRequest& request) {
    const router::EndpointId* id = find(request.source);
    const TimePoint now = std::chrono::steady_clock::now();
    Replay replay{id ? dial(events::SocketKind::kDealer, address_of(*id, settings_.replay_port)) : nullptr, now, now};
    if (replay.socket && replay.socket->send({"", big_endian(request.from)})) {
      replays_[request.source] = std::move(replay);
    } else {
      deliver_({{KvMessage::Kind::kReplayEnd, request.source, 0, ""}});
    }
  }

  // [topic, number, batch], or [number, batch] after an envelope.
  void listen(events::Socket& socket, const std::string* name, std::vector<KvMessage>& messages) {
    for (std::size_t i = 0; i < kMostAtOnce; ++i) {
      std::vector<std::string> parts = socket.receive();
      if (parts.empty()) return;
      if (parts.size() != 3 || parts[1].size() != 8) continue;
      std::string source(name ? std::string_view(*name) : router::topic_source(parts[0], settings_.topic_filter));
      if (!source.empty()) messages.push_back({KvMessage::Kind::kLive, std::move(source), big_endian(parts[1]), std::move(parts[2])});
    }
  }

  // False: it has ended.
  bool hear(const std::string& source, Replay& replay, std::vector<KvMessage>& messages) {
    const TimePoint now = std::chrono::steady_clock::now();
    bool ended = now - replay.started > kReplayLongest;
    for (std::size_t i = 0; i < kMostAtOnce && !ended; ++i) {
      std::vector<std::string> parts = replay.socket->receive();
      if (parts.empty()) break;
      replay.heard = now;
      std::string& payload = parts.back();
      ended = parts.size() < 2 || payload.empty();
      if (!ended) messages.push_back({KvMessage::Kind::kReplayed, source, big_endian(parts[parts.size() - 2]), std::move(payload)});
    }
    if (!ended && now - replay.heard <= kReplayIdle) return true;
    messages.push_back({KvMessage::Kind::kReplayEnd, source, 0, ""});
    return false;
  }

  const router::KvFeedSettings settings_;
  const Deliver deliver_;
  std::unique_ptr<events::Context> context_;
  std::unique_ptr<events::Socket> central_;
  std::map<std::string, Dialled> dialled_;
  std::map<std::string, Replay> replays_;
  std::vector<router::EndpointId> following_;

  std::mutex mutex_;  // of what follows
  std::vector<router::EndpointId> wanted_;
  std::vector<router::ReplayRequest> asked_;
  bool changed_ = false;

  const int wake_;
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<KvSubscriber>> KvSubscriber::start(const router::KvFeedSettings& settings, Deliver deliver) {
  ASSIGN_OR_RETURN(auto context, events::Context::create());
  std::unique_ptr<events::Socket> central;
  if (!settings.central_endpoint.empty()) {
    ASSIGN_OR_RETURN(central, context->socket(events::SocketKind::kSubscribe, kMostWaiting));
    RETURN_IF_ERROR(central->subscribe(settings.topic_filter));
    RETURN_IF_ERROR(central->bind(settings.central_endpoint));
  }
  return std::unique_ptr<KvSubscriber>(new Subscriber(settings, std::move(deliver), std::move(context), std::move(central)));
}

}  // namespace braid::gateway
