// SPDX-License-Identifier: Apache-2.0
#include "app/rank_supervisor.h"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "app/admission.h"
#include "app/host_role.h"
#include "app/load.h"
#include "app/local_ranks.h"
#include "app/rank_exchange.h"
#include "app/rank_hosts.h"
#include "app/rank_members.h"
#include "app/rank_scaling.h"
#include "app/rank_transport.h"
#include "app/ranks.h"
#include "app/scale_check.h"
#include "base/log.h"
#include "base/thread_name.h"
#include "fabric/connection.h"

namespace braid::app {
namespace {

using engine::FrameType;

constexpr Duration kLook = std::chrono::milliseconds(100);
constexpr Duration kSayEvery = std::chrono::seconds(2);
constexpr Duration kFormTime = std::chrono::seconds(30);  // for the first group, from its first failure on
constexpr Duration kExitTime = std::chrono::seconds(5);
constexpr Duration kFormGrace = std::chrono::seconds(1);  // to hear of the loss that spoiled a group

TimePoint now() { return std::chrono::steady_clock::now(); }

}  // namespace

class RankSupervisor::Work {
 public:
  Work(const ServeSettings& settings, Words words, engine::BalancedEngine& balanced)
      : settings_(settings), words_(words.begin(), words.end()), role_(role_of(settings.parallel)),
        patience_(std::chrono::seconds(settings.parallel.rank_start_timeout_seconds)), balanced_(balanced),
        members_(role_, std::chrono::seconds(settings.parallel.rank_timeout_seconds), exchange_, balanced) {}

  ~Work() {
    stopping_ = true;
    acceptor_.reset();
    if (thread_.joinable()) thread_.join();
    if (wish_) wish_->done(Error{ErrorCode::kUnavailable, "the server is shutting down", {}});
    if (started_ && started_->ok()) hosts_->end();
    const auto engines = exchange_->engines();
    for (const auto& [rank, engine] : engines) engine->exit();
    if (local_) local_->wait(kExitTime);
    for (const auto& [rank, engine] : engines) exchange_->forget(rank);
  }

  Status start() {
    RETURN_IF_ERROR(start_processes());
    thread_ = std::thread([this] { run(); });
    std::unique_lock lock(mutex_);
    const TimePoint deadline = now() + patience_;
    while (!started_) {
      if (changed_.wait_for(lock, kSayEvery, [&] { return started_.has_value(); })) break;
      log_info("waiting", {{"for", missing_}});
      if (now() > deadline) return Error{ErrorCode::kDeadlineExceeded, "not all ranks came: " + missing_ + " missing", {}};
    }
    return *started_;
  }

  std::vector<std::string> told(std::string (engine::RemoteEngine::*what)()) {
    std::vector<std::string> texts;
    for (const auto& [rank, engine] : exchange_->engines()) {
      const bool loaded = engine->max_model_len() > 0;
      if (loaded && role_.serves(rank)) texts.push_back(((*engine).*what)());
    }
    return texts;
  }

  serve::DeploymentState state() const {
    std::lock_guard lock(mutex_);
    return {state_.ranks, state_.missing, wish_.has_value()};
  }

  void scale(int ranks, Duration drain, std::function<void(const Status&)> done) {
    {
      std::lock_guard lock(mutex_);
      if (!wish_) {
        wish_ = {ranks, drain, std::move(done)};
        return;
      }
    }
    done(Error{ErrorCode::kUnavailable, "the number of ranks is changing already; try again when /is_scaling_elastic_ep says that it is done", {}});
  }

 private:
  // Another number of ranks that somebody asked for.
  struct Wish {
    int ranks = 0;
    Duration drain{};
    std::function<void(const Status&)> done;
  };

  bool starting() const { return !started_.has_value(); }

  Status start_processes() {
    const ParallelSettings& p = settings_.parallel;
    const std::string secret = p.secret.empty() ? fabric::make_secret() : p.secret;
    const bool alone = role_.started.count == p.size && (!p.enable_elastic_ep || p.secret.empty());
    if (!alone) words_.insert(words_.end(), {"--data-parallel-host", host_identity(p)});
    ASSIGN_OR_RETURN(auto listener, role_.leads ? fabric::Listener::open(p.address, alone ? 0 : p.rpc_port, secret)
                                                : fabric::Listener::open(kLoopback, 0, secret));
    const int port = listener->port();
    acceptor_ = std::make_unique<RankAcceptor>(std::move(listener), exchange_);
    log_info("starting ranks", {{"ranks", p.size}, {"local", role_.started.count}, {"first", role_.started.first},
                                {"leader", p.address}, {"port", role_.leads ? port : p.rpc_port}});
    local_.emplace(words_, RankAddress{p.address, role_.leads ? port : p.rpc_port, role_.leads ? 0 : port, secret});
    hosts_.emplace(RankHosts::Parts{*local_, role_.started, p.size, exchange_, std::chrono::seconds(p.rank_timeout_seconds)});
    scaling_.emplace(RankScaling::Parts{members_, *hosts_, balanced_, exchange_->leader(), [this](int ranks) { resize(ranks); }, patience_});
    return hosts_->start();
  }

  void run() {
    name_this_thread("braid-ranks");
    while (!stopping_) {
      if (auto event = exchange_->pop(kLook)) handle(*event);
      look_at_processes();
      members_.look();
      look_at_group();
      if (starting()) look_at_start();
      else look_at_scaling();
      publish();
    }
  }

  void handle(RankEvent& event) {
    if (event.kind == RankEvent::Kind::kConnected) return greet(event.text, std::move(event.connection));
    if (event.rank < 0) return hear_host(event);
    if (!members_.has(event.rank, event.serial)) return;
    if (engine::Ready message; event.kind == RankEvent::Kind::kReady && engine::from_bytes(event.text, message)) ready(event.rank, message);
    if (event.kind == RankEvent::Kind::kLost) lose(event.rank, event.text);
  }

  void hear_host(const RankEvent& event) {
    const auto ended = hosts_->hear(event);
    if (ended && scaling_->concerns(ended->rank)) scaling_->failed(ended->text);
  }

  void greet_host(const std::string& hello, std::unique_ptr<fabric::Connection> connection) {
    ServeSettings first = settings_;
    first.parallel.size = role_.connected.count;
    const auto host = host_of(hello, first);
    const Status fits = host.ok() ? hosts_->check(*host, starting()) : Status(host.error());
    const Status answered = fits.ok() ? connection->send(static_cast<std::uint8_t>(FrameType::kWelcome), {})
                                      : connection->send(static_cast<std::uint8_t>(FrameType::kRefused), fits.error().message);
    if (!fits.ok()) return refuse(fits.error().message);
    if (answered.ok()) hosts_->connect(*host, std::move(connection));
  }

  void greet(const std::string& hello, std::unique_ptr<fabric::Connection> connection) {
    if (is_host(hello)) return greet_host(hello, std::move(connection));
    auto rank = rank_of(hello, settings_);
    if (rank.ok() && !members_.knows(*rank)) rank = invalid_argument(name_of_rank(*rank) + " belongs to another server of the deployment");
    const Status answered = rank.ok() ? connection->send(static_cast<std::uint8_t>(FrameType::kWelcome), {})
                                      : connection->send(static_cast<std::uint8_t>(FrameType::kRefused), rank.error().message);
    if (!rank.ok()) return refuse(rank.error().message);
    if (!answered.ok()) return;
    if (members_.connected(*rank)) {
      if (starting()) return refuse("two processes say that they are " + name_of_rank(*rank) + "; check --data-parallel-start-rank");
      lose(*rank, "another process took its place");
    }
    members_.connect(*rank, std::move(connection));
  }

  void refuse(const std::string& reason) {
    if (starting()) finish_start(invalid_argument(reason));
    else log_warning("a rank was refused", {{"reason", reason}});
  }

  void ready(int rank, const engine::Ready& message) {
    if (!message.error.empty()) {
      if (starting()) return finish_start(internal_error(message.error).within(name_of_rank(rank)));
      if (scaling_->concerns(rank)) return scaling_->failed(hosts_->whereabouts(rank) + ": " + message.error);
      log_warning("a rank could not start", {{"rank", rank}, {"reason", message.error}});
      return members_.disconnect(rank);
    }
    members_.ready(rank, message.in_step);
    if (starting() ? !members_.all_ready() : !members_.is_member(rank)) return;
    members_.announce();
    met_ = true;
    if (starting()) return;
    log_info("a rank is back", {{"rank", rank}});
    members_.serve(rank);
  }

  void lose(int rank, const std::string& reason) {
    if (starting() && !met_) return fail_start(name_of_rank(rank) + " is gone while starting: " + reason);
    if (scaling_->concerns(rank)) scaling_->failed(hosts_->whereabouts(rank) + " is gone: " + reason);
    else log_error("rank lost", {{"rank", rank}, {"reason", reason}});
    members_.lose(rank, reason);
    local_->kill(rank);
  }

  void look_at_processes() {
    while (const auto ended = local_->ended()) {
      if (starting() && !met_) return fail_start(ended->text + " while starting; see its message above");
      if (scaling_->concerns(ended->rank)) scaling_->failed(ended->text);
      else local_->restart(*ended);
    }
    local_->look();
  }

  // A rank that cannot form the group is lost; at the start all try again, since the reason may be
  // that not everything is there yet.
  void look_at_group() {
    const auto [rank, reason] = exchange_->leader().failure();
    if (rank < 0 || exchange_->leader().generation() != failed_generation_) {
      failed_generation_ = exchange_->leader().generation();
      failed_since_ = now();
      return;
    }
    if (now() - failed_since_ <= kFormGrace) return;
    if (scaling_->forming()) return scaling_->failed(hosts_->whereabouts(rank) + ": " + reason);
    if (!starting()) return members_.disconnect(rank);
    first_failure_ = first_failure_.value_or(failed_since_);
    if (now() - *first_failure_ > kFormTime) return finish_start(internal_error(reason).within(name_of_rank(rank)));
    log_warning("the ranks could not form a group and try again", {{"rank", rank}, {"reason", reason}});
    members_.announce();
  }

  void look_at_start() {
    const std::string missing = members_.missing();
    if (missing.empty()) return finish_start(Status::success());
    std::lock_guard lock(mutex_);
    missing_ = missing;
  }

  void look_at_scaling() {
    if (scaling_->running()) return scaling_->look();
    std::unique_lock lock(mutex_);
    if (!wish_) return;
    const Wish wish = *wish_;
    lock.unlock();
    const auto config = model_config(settings_.model.model);
    const ScaleFacts facts = hosts_->facts();
    const Status possible = config.ok() ? check_scale(settings_, *config, wish.ranks, facts) : config.error();
    if (!possible.ok()) return grant(possible);
    if (const auto places = place_ranks(wish.ranks - settings_.parallel.size, facts); places.ok()) hosts_->place(settings_.parallel.size, *places);
    scaling_->begin(settings_.parallel.size, wish.ranks, wish.drain, [this](const Status& status) { grant(status); });
  }

  // The wish is fulfilled, or cannot be.
  void grant(const Status& status) {
    publish();
    std::unique_lock lock(mutex_);
    const auto done = std::move(wish_->done);
    wish_.reset();
    lock.unlock();
    done(status);
  }

  void resize(int ranks) {
    settings_.parallel.size = ranks;
    hosts_->resize(ranks);
  }

  void publish() {
    std::lock_guard lock(mutex_);
    if (!scaling_->running()) state_.ranks = settings_.parallel.size;
    state_.missing = members_.absent();
  }

  // By a process that has ended, if one has: that says more.
  void fail_start(const std::string& reason) {
    const auto ended = local_->ended();
    finish_start(internal_error(ended ? ended->text + " while starting; see its message above" : reason));
  }

  void finish_start(Status status) {
    if (status.ok()) {
      members_.serve_all();
      hosts_->serve();
    }
    {
      std::lock_guard lock(mutex_);
      if (!started_) started_ = std::move(status);
    }
    changed_.notify_all();
  }

  ServeSettings settings_;  // of the supervising thread, once that runs
  std::vector<std::string> words_;
  const HostRole role_;
  const Duration patience_;
  engine::BalancedEngine& balanced_;
  const std::shared_ptr<RankExchange> exchange_ = std::make_shared<RankExchange>();
  std::unique_ptr<RankAcceptor> acceptor_;
  std::atomic<bool> stopping_{false};

  // Of the supervising thread:
  std::optional<LocalRanks> local_;
  RankMembers members_;
  std::optional<RankHosts> hosts_;
  std::optional<RankScaling> scaling_;
  bool met_ = false;  // a first group was announced
  std::uint64_t failed_generation_ = 0;
  TimePoint failed_since_{};
  std::optional<TimePoint> first_failure_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  serve::DeploymentState state_;
  std::optional<Wish> wish_;
  std::optional<Status> started_;
  std::string missing_;

  std::thread thread_;
};

RankSupervisor::RankSupervisor(const ServeSettings& settings, Words words, engine::BalancedEngine& balanced)
    : work_(std::make_unique<Work>(settings, words, balanced)) {}
RankSupervisor::~RankSupervisor() = default;
Status RankSupervisor::start() { return work_->start(); }
std::vector<std::string> RankSupervisor::metrics_texts() { return work_->told(&engine::RemoteEngine::metrics_text); }
std::vector<std::string> RankSupervisor::timelines() { return work_->told(&engine::RemoteEngine::timeline); }
serve::DeploymentState RankSupervisor::state() const { return work_->state(); }
void RankSupervisor::scale(int ranks, Duration drain, std::function<void(const Status&)> done) { work_->scale(ranks, drain, std::move(done)); }

}  // namespace braid::app
