// SPDX-License-Identifier: Apache-2.0
#include "app/rank_supervisor.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "app/ranks.h"
#include "base/log.h"
#include "base/thread_name.h"
#include "engine/remote/group_leader.h"
#include "engine/remote/remote_engine.h"
#include "fabric/connection.h"

namespace braid::app {
namespace {

using engine::FrameType;

constexpr Duration kLook = std::chrono::milliseconds(100);
constexpr Duration kSayEvery = std::chrono::seconds(2);
constexpr Duration kStartTime = std::chrono::minutes(60);
constexpr Duration kExitTime = std::chrono::seconds(5);
constexpr Duration kFirstPause = std::chrono::milliseconds(200);
constexpr Duration kLongestPause = std::chrono::seconds(30);
constexpr Duration kStable = std::chrono::seconds(60);    // a rank that lived so long is started again at once
constexpr Duration kFormGrace = std::chrono::seconds(1);  // to hear of the loss that spoiled a group

TimePoint now() { return std::chrono::steady_clock::now(); }
std::string name_of(int rank) { return "rank " + std::to_string(rank); }

struct Event {
  enum class Kind { kConnected, kRefused, kReady, kFormed, kLost } kind = Kind::kFormed;
  int rank = -1;
  std::uint64_t serial = 0;  // of the connection
  std::string text;          // a reason, or the bytes of a Ready
  std::unique_ptr<fabric::Connection> connection;
};

// What the ranks' connections share with the supervisor, and may outlive it.
class Exchange {
 public:
  void push(Event event) {
    {
      std::lock_guard lock(mutex_);
      events_.push_back(std::move(event));
    }
    changed_.notify_all();
  }
  std::optional<Event> pop(Duration patience) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, patience, [&] { return !events_.empty(); })) return std::nullopt;
    Event event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

  void connect(int rank, std::shared_ptr<engine::RemoteEngine> engine) {
    std::lock_guard lock(mutex_);
    engines_[rank] = std::move(engine);
  }
  void forget(int rank) {
    std::lock_guard lock(mutex_);
    engines_.erase(rank);
  }
  std::vector<std::shared_ptr<engine::RemoteEngine>> engines() {
    std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<engine::RemoteEngine>> all;
    for (const auto& [rank, engine] : engines_) all.push_back(engine);
    return all;
  }
  void send(int rank, FrameType type, const std::string& payload) {
    std::shared_ptr<engine::RemoteEngine> engine;
    {
      std::lock_guard lock(mutex_);
      if (const auto found = engines_.find(rank); found != engines_.end()) engine = found->second;
    }
    if (engine) engine->tell(static_cast<std::uint8_t>(type), payload);
  }

  engine::GroupLeader leader{[this](int rank, FrameType type, const std::string& payload) { send(rank, type, payload); }};

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Event> events_;
  std::map<int, std::shared_ptr<engine::RemoteEngine>> engines_;
};

// What a rank's control frames mean.
bool on_control(Exchange& exchange, int rank, std::uint64_t serial, const fabric::Frame& frame) {
  switch (static_cast<FrameType>(frame.type)) {
    case FrameType::kReady: {
      exchange.push({.kind = Event::Kind::kReady, .rank = rank, .serial = serial, .text = frame.payload});
      return true;
    }
    case FrameType::kGather: {
      engine::Gather gather;
      if (!engine::from_bytes(frame.payload, gather)) return false;
      exchange.leader.gather(rank, std::move(gather));
      return true;
    }
    case FrameType::kFormed: {
      engine::Formed formed;
      if (!engine::from_bytes(frame.payload, formed)) return false;
      exchange.leader.formed(rank, formed);
      exchange.push({.kind = Event::Kind::kFormed, .rank = rank, .serial = serial});
      return true;
    }
    default: return false;
  }
}

}  // namespace

class RankSupervisor::Work {
 public:
  Work(const ServeSettings& settings, Words words, engine::BalancedEngine& balanced)
      : settings_(settings), words_(words), balanced_(balanced), members_(static_cast<std::size_t>(settings.parallel.size)) {}

  ~Work() {
    stopping_ = true;
    if (acceptor_.joinable()) acceptor_.join();
    if (thread_.joinable()) thread_.join();
    for (const auto& engine : exchange_->engines()) engine->exit();
    processes_.wait(kExitTime);
    for (std::size_t r = 0; r < members_.size(); ++r) exchange_->forget(static_cast<int>(r));
  }

  Status start() {
    const ParallelSettings& p = settings_.parallel;
    secret_ = p.secret.empty() ? fabric::make_secret() : p.secret;
    const bool alone = p.local_size() == p.size;
    ASSIGN_OR_RETURN(listener_, fabric::Listener::open(p.address, alone ? 0 : p.rpc_port, secret_));
    log_info("starting ranks", {{"ranks", p.size}, {"local", p.local_size()}, {"address", p.address}, {"port", listener_->port()}});
    for (int i = 0; i < p.local_size(); ++i) RETURN_IF_ERROR(start_process(p.start_rank + i));
    acceptor_ = std::thread([this] { accept(); });
    thread_ = std::thread([this] { run(); });
    std::unique_lock lock(mutex_);
    const TimePoint deadline = now() + kStartTime;
    while (!started_) {
      if (changed_.wait_for(lock, kSayEvery, [&] { return started_.has_value(); })) break;
      log_info("waiting", {{"for", missing_}});
      if (now() > deadline) return Error{ErrorCode::kDeadlineExceeded, "not all ranks came: " + missing_ + " missing", {}};
    }
    return *started_;
  }

  std::vector<std::string> metrics_texts() {
    std::vector<std::string> texts;
    for (const auto& engine : exchange_->engines()) texts.push_back(engine->metrics_text());
    return texts;
  }

 private:
  struct Member {
    std::shared_ptr<engine::RemoteEngine> engine;  // null: absent
    std::uint64_t serial = 0;
    bool ready = false;
    bool in_step = false;
    Duration pause = kFirstPause;
    TimePoint started{};
    std::optional<TimePoint> restart;
  };

  Member& member(int rank) { return members_[static_cast<std::size_t>(rank)]; }
  bool starting() const { return !started_.has_value(); }

  Status start_process(int rank) {
    member(rank).started = now();
    return processes_.start(rank, settings_.parallel.address, listener_->port(), secret_, words_);
  }

  void accept() {
    name_this_thread("braid-accept");
    while (!stopping_) {
      auto accepted = listener_->accept(now() + kLook);
      if (!accepted.ok()) continue;
      const auto rank = rank_of(accepted->hello, settings_);
      const Status answered = rank.ok() ? accepted->connection->send(static_cast<std::uint8_t>(FrameType::kWelcome), {})
                                        : accepted->connection->send(static_cast<std::uint8_t>(FrameType::kRefused), rank.error().message);
      if (!rank.ok()) exchange_->push({.kind = Event::Kind::kRefused, .text = rank.error().message});
      else if (answered.ok()) exchange_->push({.kind = Event::Kind::kConnected, .rank = *rank, .connection = std::move(accepted->connection)});
    }
  }

  void run() {
    name_this_thread("braid-ranks");
    while (!stopping_) {
      if (auto event = exchange_->pop(kLook)) handle(*event);
      look_at_processes();
      look_at_engines();
      if (starting()) look_at_start();
      std::erase_if(lost_, [](const auto& engine) { return engine.use_count() == 1; });
    }
  }

  void handle(Event& event) {
    if (event.kind == Event::Kind::kRefused) return refuse(event.text);
    if (event.kind == Event::Kind::kConnected) return connect(event.rank, std::move(event.connection));
    if (event.serial != member(event.rank).serial || !member(event.rank).engine) return;
    if (engine::Ready message; event.kind == Event::Kind::kReady && engine::from_bytes(event.text, message)) ready(event.rank, message);
    if (event.kind == Event::Kind::kLost) lose(event.rank, event.text);
  }

  void refuse(const std::string& reason) {
    if (starting()) finish_start(invalid_argument(reason));
    else log_warning("a rank was refused", {{"reason", reason}});
  }

  void connect(int rank, std::unique_ptr<fabric::Connection> connection) {
    Member& m = member(rank);
    if (m.engine && starting()) {
      return refuse("two processes say that they are " + name_of(rank) + "; check --data-parallel-start-rank");
    }
    if (m.engine) lose(rank, "another process took its place");
    m.serial = ++serials_;
    m.ready = false;
    const auto events = [exchange = exchange_, rank, serial = m.serial] {
      return engine::RemoteEvents{
          [=](const fabric::Frame& frame) { return on_control(*exchange, rank, serial, frame); },
          [=](const std::string& reason) { exchange->push({.kind = Event::Kind::kLost, .rank = rank, .serial = serial, .text = reason}); }};
    };
    m.engine = engine::remote_engine(name_of(rank), std::move(connection), std::chrono::seconds(settings_.parallel.rank_timeout_seconds), events());
    exchange_->connect(rank, m.engine);
  }

  void ready(int rank, const engine::Ready& message) {
    if (!message.error.empty()) {
      if (starting()) return finish_start(internal_error(message.error).within(name_of(rank)));
      log_warning("a rank could not start", {{"rank", rank}, {"reason", message.error}});
      return member(rank).engine->disconnect();
    }
    member(rank).ready = true;
    member(rank).in_step = message.in_step;
    if (starting()) {
      if (std::all_of(members_.begin(), members_.end(), [](const Member& m) { return m.ready; })) announce();
      return;
    }
    log_info("a rank is back", {{"rank", rank}});
    announce();
    balanced_.add(rank, member(rank).engine);
  }

  void announce() {
    std::vector<int> group;
    for (std::size_t r = 0; r < members_.size(); ++r) {
      if (members_[r].ready && members_[r].in_step) group.push_back(static_cast<int>(r));
    }
    if (!group.empty()) exchange_->leader.announce(group);
  }

  void lose(int rank, const std::string& reason) {
    Member& m = member(rank);
    if (starting()) {
      if (const auto ended = processes_.ended()) return finish_start(internal_error(ended->text + " while starting; see its message above"));
      return finish_start(internal_error(name_of(rank) + " is gone while starting: " + reason));
    }
    log_error("rank lost", {{"rank", rank}, {"reason", reason}});
    m.engine->disconnect();
    exchange_->forget(rank);
    lost_.push_back(std::move(m.engine));
    m.engine = nullptr;
    processes_.kill(rank);
    if (!std::exchange(m.ready, false)) return;
    announce();
    balanced_.lose(rank, name_of(rank) + " is gone: " + reason);
  }

  void look_at_processes() {
    while (const auto ended = processes_.ended()) {
      if (starting()) return finish_start(internal_error(ended->text + " while starting; see its message above"));
      Member& m = member(ended->rank);
      m.pause = now() - m.started > kStable ? kFirstPause : std::min(2 * m.pause, kLongestPause);
      m.restart = now() + m.pause;
      log_warning("a rank's process has ended and is started again", {{"which", ended->text}, {"in_seconds", to_seconds(m.pause)}});
    }
    for (std::size_t r = 0; r < members_.size(); ++r) {
      if (!members_[r].restart || now() < *members_[r].restart) continue;
      members_[r].restart.reset();
      const Status started = start_process(static_cast<int>(r));
      if (!started.ok()) log_error("a rank cannot be started", {{"rank", static_cast<int>(r)}, {"reason", started.error().message}});
    }
  }

  // Breaks with ranks that cannot serve any more.
  void look_at_engines() {
    if (starting()) return;
    for (Member& m : members_) {
      if (m.engine && m.ready && !m.engine->stats().healthy) m.engine->disconnect();
    }
    const auto [rank, reason] = exchange_->leader.failure();
    if (rank < 0 || exchange_->leader.generation() != failed_generation_) {
      failed_generation_ = exchange_->leader.generation();
      failed_since_ = now();
    } else if (now() - failed_since_ > kFormGrace && member(rank).engine) {
      member(rank).engine->disconnect();
    }
  }

  void look_at_start() {
    const auto [rank, reason] = exchange_->leader.failure();
    if (rank >= 0) return finish_start(internal_error(reason).within(name_of(rank)));
    const std::string missing = whom_to_wait_for();
    if (missing.empty()) return finish_start(Status::success());
    std::lock_guard lock(mutex_);
    missing_ = missing;
  }

  std::string whom_to_wait_for() const {
    std::string absent, loading, forming;
    const auto add = [](std::string& to, int rank) { to += (to.empty() ? "" : ", ") + name_of(rank); };
    for (std::size_t r = 0; r < members_.size(); ++r) {
      if (!members_[r].engine) add(absent, static_cast<int>(r));
      else if (!members_[r].ready) add(loading, static_cast<int>(r));
    }
    if (!absent.empty()) return absent;
    if (!loading.empty()) return loading + " to load";
    for (const int rank : exchange_->leader.forming()) add(forming, rank);
    return forming.empty() ? "" : forming + " to share memory";
  }

  void finish_start(Status status) {
    if (status.ok()) {
      for (std::size_t r = 0; r < members_.size(); ++r) balanced_.add(static_cast<int>(r), members_[r].engine);
    }
    {
      std::lock_guard lock(mutex_);
      if (!started_) started_ = std::move(status);
    }
    changed_.notify_all();
  }

  const ServeSettings settings_;
  const Words words_;
  engine::BalancedEngine& balanced_;
  std::string secret_;
  std::unique_ptr<fabric::Listener> listener_;
  const std::shared_ptr<Exchange> exchange_ = std::make_shared<Exchange>();
  std::atomic<bool> stopping_{false};

  // Of the supervising thread:
  RankProcesses processes_;
  std::vector<Member> members_;
  std::vector<std::shared_ptr<engine::RemoteEngine>> lost_;  // until nobody uses them
  std::uint64_t serials_ = 0;
  std::uint64_t failed_generation_ = 0;
  TimePoint failed_since_{};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Status> started_;
  std::string missing_;

  std::thread acceptor_;
  std::thread thread_;
};

RankSupervisor::RankSupervisor(const ServeSettings& settings, Words words, engine::BalancedEngine& balanced)
    : work_(std::make_unique<Work>(settings, words, balanced)) {}
RankSupervisor::~RankSupervisor() = default;
Status RankSupervisor::start() { return work_->start(); }
std::vector<std::string> RankSupervisor::metrics_texts() { return work_->metrics_texts(); }

}  // namespace braid::app
