// SPDX-License-Identifier: Apache-2.0
#include <condition_variable>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "engine/remote/remote_engine.h"
#include "engine/remote/wire.h"
#include "engine/unfinished.h"

namespace braid::engine {
namespace {

constexpr Duration kStatsEvery = std::chrono::milliseconds(20);
constexpr Duration kPoll = std::chrono::hours(1);

// Collects what the engine emits and sends it from a thread of its own, so that the engine never
// waits for a socket; messages that gather meanwhile travel in one frame.
class Outgoing {
 public:
  Outgoing(Engine& engine, fabric::Connection& connection)
      : engine_(engine), connection_(connection), thread_([this] { run(); }) {}
  ~Outgoing() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  void push(std::vector<TokenMessage>&& messages) {
    {
      std::lock_guard lock(mutex_);
      for (auto& m : messages) waiting_.push_back(std::move(m));
    }
    changed_.notify_all();
  }

 private:
  void run() {
    Stats told;
    for (;;) {
      std::vector<TokenMessage> batch;
      {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, kStatsEvery, [&] { return stopping_ || !waiting_.empty(); });
        if (stopping_) return;
        batch.swap(waiting_);
      }
      if (!batch.empty() && !connection_.send(static_cast<std::uint8_t>(FrameType::kTokens), to_bytes(batch)).ok()) return;
      const Stats stats = engine_.stats();
      if (stats.running == told.running && stats.waiting == told.waiting && stats.blocks_used == told.blocks_used &&
          stats.healthy == told.healthy && told.blocks_total > 0) continue;
      told = stats;
      if (!connection_.send(static_cast<std::uint8_t>(FrameType::kStats), to_bytes(stats)).ok()) return;
    }
  }

  Engine& engine_;
  fabric::Connection& connection_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<TokenMessage> waiting_;
  bool stopping_ = false;
  std::thread thread_;
};

// The engine's numbers of unfinished requests, by those of the serving process.
class Numbers {
 public:
  void expect(RequestId theirs) {
    std::lock_guard lock(mutex_);
    ours_[theirs] = 0;
  }
  // Nothing to note when the request has ended meanwhile.
  void note(RequestId theirs, RequestId ours) {
    std::lock_guard lock(mutex_);
    if (const auto found = ours_.find(theirs); found != ours_.end()) found->second = ours;
  }
  void forget(RequestId theirs) {
    std::lock_guard lock(mutex_);
    ours_.erase(theirs);
  }
  RequestId of(RequestId theirs) {
    std::lock_guard lock(mutex_);
    const auto found = ours_.find(theirs);
    return found == ours_.end() ? 0 : found->second;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<RequestId, RequestId> ours_;
};

// One request: gives its messages the number that the serving process knows.
class Forwarder final : public Subscriber {
 public:
  Forwarder(Outgoing& to, Numbers& numbers, RequestId id, int choices)
      : to_(to), numbers_(numbers), id_(id), unfinished_(choices) {}
  void on_tokens(std::vector<TokenMessage>&& messages) override {
    for (auto& m : messages) {
      m.request = id_;
      if (m.finish != protocol::FinishReason::kNone && unfinished_.end(m.index)) numbers_.forget(id_);
    }
    to_.push(std::move(messages));
  }

 private:
  Outgoing& to_;
  Numbers& numbers_;
  const RequestId id_;
  Unfinished unfinished_;
};

class Service {
 public:
  Service(Engine& engine, fabric::Connection& connection, const std::function<std::string()>& metrics_text)
      : engine_(engine), connection_(connection), metrics_text_(metrics_text), outgoing_(engine, connection) {}

  Status run() {
    for (;;) {
      auto frame = connection_.receive(std::chrono::steady_clock::now() + kPoll);
      if (!frame.ok() && frame.error().code == ErrorCode::kDeadlineExceeded) continue;
      if (!frame.ok()) return frame.error();
      if (static_cast<FrameType>(frame->type) == FrameType::kExit) return Status::success();
      RETURN_IF_ERROR(handle(*frame));
    }
  }

 private:
  Status send(FrameType type, const std::string& payload) { return connection_.send(static_cast<std::uint8_t>(type), payload); }

  Status handle(const fabric::Frame& frame) {
    switch (static_cast<FrameType>(frame.type)) {
      case FrameType::kSubmit: return submit(frame.payload);
      case FrameType::kCancel: return cancel(frame.payload);
      case FrameType::kMetrics: return send(FrameType::kMetrics, metrics_text_());
      case FrameType::kResetPrefixCache: engine_.reset_prefix_cache(); return Status::success();
      case FrameType::kDrain: return drain(frame.payload);
      default: return internal_error("the serving process sent a message of unknown type " + std::to_string(frame.type));
    }
  }

  Status submit(const std::string& payload) {
    Submit submit;
    if (!from_bytes(payload, submit)) return internal_error("the serving process sent a request that cannot be read");
    if (submit.nanoseconds_left) submit.message.deadline = std::chrono::steady_clock::now() + Duration(*submit.nanoseconds_left);
    submit.message.subscriber =
        std::make_shared<Forwarder>(outgoing_, numbers_, submit.request, submit.message.params.n);
    numbers_.expect(submit.request);
    const auto id = take(std::move(submit.message));
    Answer answer{submit.request, id.ok(), {}, {}, {}};
    if (id.ok()) {
      numbers_.note(submit.request, *id);
    } else {
      numbers_.forget(submit.request);
      answer = {submit.request, false, id.error().code, id.error().message, id.error().param};
    }
    return send(FrameType::kAnswer, to_bytes(answer));
  }

  Result<RequestId> take(SubmitMessage message) {
    ASSIGN_OR_RETURN(auto request, engine_.admit(std::move(message)));
    return engine_.submit(std::move(request));
  }

  Status cancel(const std::string& payload) {
    CancelMessage message;
    if (!from_bytes(payload, message)) return internal_error("the serving process sent a cancellation that cannot be read");
    const RequestId ours = numbers_.of(message.request);
    if (ours != 0) engine_.cancel(ours, message.index);
    if (message.index < 0) numbers_.forget(message.request);
    return Status::success();
  }

  Status drain(const std::string& payload) {
    std::int64_t ms = 0;
    if (!from_bytes(payload, ms)) return internal_error("the serving process sent a drain that cannot be read");
    engine_.drain(std::chrono::milliseconds(ms));
    return send(FrameType::kDrained, {});
  }

  Engine& engine_;
  fabric::Connection& connection_;
  const std::function<std::string()>& metrics_text_;
  Outgoing outgoing_;
  Numbers numbers_;
};

}  // namespace

Status serve_remote(Engine& engine, fabric::Connection& connection, const std::function<std::string()>& metrics_text) {
  return Service(engine, connection, metrics_text).run();
}

}  // namespace braid::engine
