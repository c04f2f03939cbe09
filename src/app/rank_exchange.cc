// SPDX-License-Identifier: Apache-2.0
#include "app/rank_exchange.h"

#include <utility>

#include "base/thread_name.h"

namespace braid::app {
namespace {

using engine::FrameType;

constexpr Duration kLook = std::chrono::milliseconds(100);

}  // namespace

void RankExchange::push(RankEvent event) {
  {
    std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  changed_.notify_all();
}

std::optional<RankEvent> RankExchange::pop(Duration patience) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, patience, [&] { return !events_.empty(); })) return std::nullopt;
  RankEvent event = std::move(events_.front());
  events_.pop_front();
  return event;
}

engine::RemoteEvents RankExchange::events_of(std::shared_ptr<RankExchange> exchange, int rank, std::uint64_t serial) {
  return {[=](const fabric::Frame& frame) { return exchange->control(rank, serial, frame); },
          [=](const std::string& reason) { exchange->push({.kind = RankEvent::Kind::kLost, .rank = rank, .serial = serial, .text = reason}); }};
}

bool RankExchange::control(int rank, std::uint64_t serial, const fabric::Frame& frame) {
  switch (static_cast<FrameType>(frame.type)) {
    case FrameType::kReady: {
      push({.kind = RankEvent::Kind::kReady, .rank = rank, .serial = serial, .text = frame.payload});
      return true;
    }
    case FrameType::kGather: {
      engine::Gather gather;
      if (!engine::from_bytes(frame.payload, gather)) return false;
      leader_.gather(rank, std::move(gather));
      return true;
    }
    case FrameType::kFormed: {
      engine::Formed formed;
      if (!engine::from_bytes(frame.payload, formed)) return false;
      leader_.formed(rank, formed);
      push({.kind = RankEvent::Kind::kFormed, .rank = rank, .serial = serial});
      return true;
    }
    default: return false;
  }
}

void RankExchange::connect(int rank, std::shared_ptr<engine::RemoteEngine> engine) {
  std::lock_guard lock(mutex_);
  engines_[rank] = std::move(engine);
}

void RankExchange::forget(int rank) {
  std::lock_guard lock(mutex_);
  engines_.erase(rank);
}

std::map<int, std::shared_ptr<engine::RemoteEngine>> RankExchange::engines() const {
  std::lock_guard lock(mutex_);
  return engines_;
}

void RankExchange::send(int rank, FrameType type, const std::string& payload) {
  std::shared_ptr<engine::RemoteEngine> engine;
  {
    std::lock_guard lock(mutex_);
    if (const auto found = engines_.find(rank); found != engines_.end()) engine = found->second;
  }
  if (engine) engine->tell(static_cast<std::uint8_t>(type), payload);
}

RankAcceptor::RankAcceptor(std::unique_ptr<fabric::Listener> listener, std::shared_ptr<RankExchange> exchange)
    : listener_(std::move(listener)), exchange_(std::move(exchange)), thread_([this] { run(); }) {}

RankAcceptor::~RankAcceptor() {
  stopping_ = true;
  thread_.join();
}

void RankAcceptor::run() {
  name_this_thread("braid-accept");
  while (!stopping_) {
    auto accepted = listener_->accept(std::chrono::steady_clock::now() + kLook);
    if (!accepted.ok()) continue;
    exchange_->push({.kind = RankEvent::Kind::kConnected, .text = std::move(accepted->hello), .connection = std::move(accepted->connection)});
  }
}

}  // namespace braid::app
