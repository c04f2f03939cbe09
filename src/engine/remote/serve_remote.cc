// SPDX-License-Identifier: Apache-2.0
#include <condition_variable>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "engine/remote/control_membership.h"
#include "engine/remote/remote_engine.h"
#include "engine/remote/wire.h"
#include "engine/unfinished.h"

namespace braid::engine {
namespace {

constexpr Duration kStatsEvery = std::chrono::milliseconds(20);
constexpr Duration kSignOfLife = std::chrono::milliseconds(500);
constexpr Duration kPoll = std::chrono::hours(1);

// Collects what the engine emits and sends it from a thread of its own, so that the engine never
// waits for a socket; messages that gather meanwhile travel in one frame.
class Outgoing {
 public:
  Outgoing(Engine& engine, fabric::Connection& connection)
      : engine_(engine), connection_(connection), thread_([this] { run(); }) {}
  ~Outgoing() { stop(); }
  // What is pushed from now on goes nowhere.
  void stop() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
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
    TimePoint next_sign{};
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
          stats.healthy == told.healthy && std::chrono::steady_clock::now() < next_sign) continue;
      told = stats;
      next_sign = std::chrono::steady_clock::now() + kSignOfLife;
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
  Forwarder(std::shared_ptr<Outgoing> to, std::shared_ptr<Numbers> numbers, RequestId id, int choices)
      : to_(std::move(to)), numbers_(std::move(numbers)), id_(id), unfinished_(choices) {}
  void on_tokens(std::vector<TokenMessage>&& messages) override {
    for (auto& m : messages) {
      m.request = id_;
      if (m.finish != protocol::FinishReason::kNone && unfinished_.end(m.index)) numbers_->forget(id_);
    }
    to_->push(std::move(messages));
  }

 private:
  const std::shared_ptr<Outgoing> to_;  // they outlive the service: the engine may speak after it
  const std::shared_ptr<Numbers> numbers_;
  const RequestId id_;
  Unfinished unfinished_;
};

class Service {
 public:
  Service(Engine& engine, fabric::Connection& connection, const Reports& reports,
          ControlMembership* membership)
      : engine_(engine), connection_(connection), reports_(reports), membership_(membership),
        outgoing_(std::make_shared<Outgoing>(engine, connection)) {}
  ~Service() { outgoing_->stop(); }

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
      case FrameType::kMetrics: return send(FrameType::kMetrics, reports_.metrics());
      case FrameType::kTimeline: return send(FrameType::kTimeline, reports_.timeline());
      case FrameType::kResetPrefixCache: engine_.reset_prefix_cache(); return Status::success();
      case FrameType::kDrain: return drain(frame.payload);
      case FrameType::kGroup: return group(frame.payload);
      case FrameType::kGathered: return gathered(frame.payload);
      default: return internal_error("the serving process sent a message of unknown type " + std::to_string(frame.type));
    }
  }

  Status group(const std::string& payload) {
    Group group;
    if (!membership_ || !from_bytes(payload, group)) return internal_error("the serving process announced a group that cannot be read");
    membership_->announce(std::move(group));
    return Status::success();
  }

  Status gathered(const std::string& payload) {
    Gathered gathered;
    if (!membership_ || !from_bytes(payload, gathered)) return internal_error("the serving process answered a collective with what cannot be read");
    membership_->gathered(std::move(gathered));
    return Status::success();
  }

  Status submit(const std::string& payload) {
    Submit submit;
    if (!from_bytes(payload, submit)) return internal_error("the serving process sent a request that cannot be read");
    if (submit.nanoseconds_left) submit.message.deadline = std::chrono::steady_clock::now() + Duration(*submit.nanoseconds_left);
    submit.message.subscriber =
        std::make_shared<Forwarder>(outgoing_, numbers_, submit.request, submit.message.params.n);
    const int choices = submit.message.params.n;
    numbers_->expect(submit.request);
    const auto id = take(std::move(submit.message));
    if (id.ok()) numbers_->note(submit.request, *id);
    else refuse(submit.request, choices, id.error());
    return Status::success();
  }

  void refuse(RequestId request, int choices, const Error& error) {
    numbers_->forget(request);
    std::vector<TokenMessage> messages(static_cast<std::size_t>(choices));
    for (int i = 0; i < choices; ++i) {
      TokenMessage& m = messages[static_cast<std::size_t>(i)];
      m.request = request;
      m.index = i;
      m.finish = protocol::FinishReason::kError;
      m.error = error;
    }
    outgoing_->push(std::move(messages));
  }

  Result<RequestId> take(SubmitMessage message) {
    ASSIGN_OR_RETURN(auto request, engine_.admit(std::move(message)));
    return engine_.submit(std::move(request));
  }

  Status cancel(const std::string& payload) {
    CancelMessage message;
    if (!from_bytes(payload, message)) return internal_error("the serving process sent a cancellation that cannot be read");
    const RequestId ours = numbers_->of(message.request);
    if (ours != 0) engine_.cancel(ours, message.index);
    if (message.index < 0) numbers_->forget(message.request);
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
  const Reports& reports_;
  ControlMembership* const membership_;
  const std::shared_ptr<Outgoing> outgoing_;
  const std::shared_ptr<Numbers> numbers_ = std::make_shared<Numbers>();
};

}  // namespace

Status serve_remote(Engine& engine, fabric::Connection& connection, const Reports& reports,
                    ControlMembership* membership) {
  return Service(engine, connection, reports, membership).run();
}

}  // namespace braid::engine
