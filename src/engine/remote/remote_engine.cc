// SPDX-License-Identifier: Apache-2.0
#include "engine/remote/remote_engine.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "engine/remote/wire.h"
#include "engine/unfinished.h"

namespace braid::engine {
namespace {

constexpr Duration kPoll = std::chrono::hours(1);

TimePoint now() { return std::chrono::steady_clock::now(); }

class Remote final : public RemoteEngine {
 public:
  Remote(std::string name, std::unique_ptr<fabric::Connection> connection, Duration silence, RemoteEvents events)
      : name_(std::move(name)), connection_(std::move(connection)), silence_(silence), events_(std::move(events)),
        thread_([this] { listen(); }) {}

  ~Remote() override {
    closing_ = true;
    connection_->close();
    thread_.join();
  }

  Result<std::unique_ptr<Admitted>> admit(SubmitMessage message) override {
    auto request = std::make_unique<Message>();
    request->message = std::move(message);
    return std::unique_ptr<Admitted>(std::move(request));
  }

  Result<RequestId> submit(std::unique_ptr<Admitted> admitted) override {
    Submit submit{next_id_++, std::move(static_cast<Message&>(*admitted).message), std::nullopt};
    if (submit.message.deadline) submit.nanoseconds_left = (*submit.message.deadline - now()).count();
    const RequestId id = submit.request;
    {
      std::lock_guard lock(mutex_);
      if (!failure_.empty()) return Error{ErrorCode::kUnavailable, failure_, {}};
      requests_[id] = {std::move(submit.message.subscriber), Unfinished(submit.message.params.n)};
    }
    send(FrameType::kSubmit, to_bytes(submit));  // if that fails, the rank is lost as soon as listen() hears of it
    return id;
  }

  void cancel(RequestId request, int index) override {
    {
      std::lock_guard lock(mutex_);
      const auto found = requests_.find(request);
      if (found == requests_.end()) return;
      if (found->second.unfinished.end(index)) requests_.erase(found);
    }
    send(FrameType::kCancel, to_bytes(CancelMessage{request, index}));
  }

  Stats stats() const override {
    std::lock_guard lock(mutex_);
    return stats_;
  }
  std::int32_t max_model_len() const override { return max_model_len_; }
  void reset_prefix_cache() override { send(FrameType::kResetPrefixCache, {}); }

  void drain(Duration timeout) override {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count();
    if (!send(FrameType::kDrain, to_bytes(std::int64_t{ms}))) return;
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, timeout + std::chrono::seconds(5), [&] { return drained_ || !failure_.empty(); });
  }

  std::string metrics_text() override { return ask(FrameType::kMetrics, metrics_); }
  std::string timeline() override { return ask(FrameType::kTimeline, timeline_); }

  void tell(std::uint8_t type, const std::string& payload) override { (void)connection_->send(type, payload); }
  void disconnect() override { connection_->close(); }

  void exit() override {
    closing_ = true;
    send(FrameType::kExit, {});
  }

 private:
  // The newest answer to a question without words.
  struct Answer {
    std::string text;
    std::uint64_t count = 0;
  };
  struct Message final : Admitted {
    SubmitMessage message;
  };
  struct Pending {
    std::shared_ptr<Subscriber> subscriber;
    Unfinished unfinished;
  };

  std::string ask(FrameType question, const Answer& answer) {
    std::unique_lock lock(mutex_);
    if (!failure_.empty()) return {};
    const std::uint64_t before = answer.count;
    lock.unlock();
    if (!send(question, {})) return {};
    lock.lock();
    changed_.wait_for(lock, std::chrono::seconds(5), [&] { return answer.count > before || !failure_.empty(); });
    return answer.text;
  }
  void note(Answer& answer, const std::string& text) {
    std::lock_guard lock(mutex_);
    answer.text = text;
    ++answer.count;
  }

  bool send(FrameType type, const std::string& payload) {
    return connection_->send(static_cast<std::uint8_t>(type), payload).ok();
  }

  void listen() {
    for (;;) {
      const auto frame = connection_->receive(now() + (ready_ ? silence_ : kPoll));
      if (!frame.ok()) {
        if (frame.error().code != ErrorCode::kDeadlineExceeded) return lose(frame.error().message);
        if (!ready_) continue;
        connection_->close();
        return lose("it gave no sign of life in time");
      }
      if (!handle(*frame)) return lose("it sent a message of type " + std::to_string(frame->type) + " that cannot be read");
    }
  }

  bool handle(const fabric::Frame& frame) {
    switch (static_cast<FrameType>(frame.type)) {
      case FrameType::kTokens: return deliver(frame.payload);
      case FrameType::kStats: {
        Stats stats;
        if (!from_bytes(frame.payload, stats)) return false;
        std::lock_guard lock(mutex_);
        stats_ = std::move(stats);
        break;
      }
      case FrameType::kMetrics: note(metrics_, frame.payload); break;
      case FrameType::kTimeline: note(timeline_, frame.payload); break;
      case FrameType::kDrained: {
        std::lock_guard lock(mutex_);
        drained_ = true;
        break;
      }
      case FrameType::kReady: {
        Ready ready;
        if (!from_bytes(frame.payload, ready)) return false;
        max_model_len_ = ready.max_model_len;
        ready_ = ready.error.empty();
        return events_.on_control && events_.on_control(frame);
      }
      default: return events_.on_control && events_.on_control(frame);
    }
    changed_.notify_all();
    return true;
  }

  bool deliver(const std::string& payload) {
    std::vector<TokenMessage> messages;
    if (!from_bytes(payload, messages)) return false;
    std::unordered_map<std::shared_ptr<Subscriber>, std::vector<TokenMessage>> by_subscriber;
    {
      std::lock_guard lock(mutex_);
      for (TokenMessage& message : messages) {
        const auto found = requests_.find(message.request);
        if (found == requests_.end()) continue;
        auto subscriber = found->second.subscriber;
        const bool ended = message.finish != protocol::FinishReason::kNone;
        if (ended && found->second.unfinished.end(message.index)) requests_.erase(found);
        by_subscriber[std::move(subscriber)].push_back(std::move(message));
      }
    }
    for (auto& [subscriber, theirs] : by_subscriber) subscriber->on_tokens(std::move(theirs));
    changed_.notify_all();
    return true;
  }

  void lose(const std::string& reason) {
    {
      std::lock_guard lock(mutex_);
      failure_ = name_ + " is gone: " + reason;
      stats_.healthy = false;
      stats_.failure = failure_;
      stats_.running = stats_.waiting = stats_.blocks_used = 0;
      requests_.clear();
    }
    changed_.notify_all();
    if (closing_) return;
    if (events_.on_lost) events_.on_lost(reason);
  }

  const std::string name_;
  const std::unique_ptr<fabric::Connection> connection_;
  const Duration silence_;
  const RemoteEvents events_;
  std::atomic<std::int32_t> max_model_len_{0};
  bool ready_ = false;  // of the listening thread
  std::atomic<RequestId> next_id_{1};
  std::atomic<bool> closing_{false};

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_map<RequestId, Pending> requests_;
  Stats stats_;
  Answer metrics_, timeline_;
  bool drained_ = false;
  std::string failure_;

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace

std::unique_ptr<RemoteEngine> remote_engine(std::string name, std::unique_ptr<fabric::Connection> connection,
                                            Duration silence, RemoteEvents events) {
  return std::make_unique<Remote>(std::move(name), std::move(connection), silence, std::move(events));
}

}  // namespace braid::engine
