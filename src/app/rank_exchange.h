// SPDX-License-Identifier: Apache-2.0
// What the ranks' connections share with the thread that supervises them, and may outlive it: their
// events on the way there, and the collectives that the leader carries between them.
// Thread safety: every method from any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "engine/remote/group_leader.h"
#include "engine/remote/remote_engine.h"
#include "fabric/connection.h"

namespace braid::app {

struct RankEvent {
  enum class Kind { kConnected, kReady, kFormed, kLost, kHostState, kHostEnded, kHostLost } kind = Kind::kFormed;
  int rank = -1;
  std::uint64_t serial = 0;  // of the connection
  std::string text;          // kConnected: the hello; kReady, kHostState, kHostEnded: their bytes; kLost, kHostLost: the reason
  std::unique_ptr<fabric::Connection> connection;
};

class RankExchange {
 public:
  void push(RankEvent event);
  // The next event; waits for one up to `patience`.
  std::optional<RankEvent> pop(Duration patience);

  // Events of a connection: control frames and its loss.
  static engine::RemoteEvents events_of(std::shared_ptr<RankExchange> exchange, int rank, std::uint64_t serial);

  void connect(int rank, std::shared_ptr<engine::RemoteEngine> engine);
  void forget(int rank);
  std::map<int, std::shared_ptr<engine::RemoteEngine>> engines() const;

  engine::GroupLeader& leader() { return leader_; }

 private:
  bool control(int rank, std::uint64_t serial, const fabric::Frame& frame);
  void send(int rank, engine::FrameType type, const std::string& payload);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<RankEvent> events_;
  std::map<int, std::shared_ptr<engine::RemoteEngine>> engines_;
  engine::GroupLeader leader_{[this](int rank, engine::FrameType type, const std::string& payload) { send(rank, type, payload); }};
};

// Lets ranks connect: each becomes an event with its hello, to be answered with kWelcome or kRefused.
class RankAcceptor {
 public:
  RankAcceptor(std::unique_ptr<fabric::Listener> listener, std::shared_ptr<RankExchange> exchange);
  ~RankAcceptor();

  int port() const { return listener_->port(); }

 private:
  void run();

  const std::unique_ptr<fabric::Listener> listener_;
  const std::shared_ptr<RankExchange> exchange_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace braid::app
