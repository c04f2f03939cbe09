// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include <algorithm>
#include <utility>

#include "app/admission.h"
#include "app/engine_host.h"
#include "app/host_wire.h"
#include "app/local_ranks.h"
#include "app/rank_transport.h"
#include "base/log.h"
#include "engine/cache_size.h"

namespace braid::app {
namespace {

constexpr Duration kLook = std::chrono::milliseconds(50);
constexpr Duration kTryFor = std::chrono::seconds(1);
constexpr Duration kStateEvery = std::chrono::milliseconds(500);
constexpr Duration kExitTime = std::chrono::seconds(5);

TimePoint now() { return std::chrono::steady_clock::now(); }

std::vector<std::string> words_of_ranks(const ServeSettings& settings, Words words) {
  std::vector<std::string> all(words.begin(), words.end());
  all.insert(all.end(), {"--data-parallel-host", host_identity(settings.parallel)});
  return all;
}

class Headless {
 public:
  Headless(const ServeSettings& settings, Words words, const sigset_t& signals)
      : parallel_(settings.parallel), signals_(signals), host_(host_hello(parallel_)), hello_(hello_of(settings, host_)),
        ranks_(words_of_ranks(settings, words), {parallel_.address, parallel_.rpc_port, 0, parallel_.secret}) {}

  Status run() {
    RETURN_IF_ERROR(meet());
    while (!ending_) {
      if (signalled()) return Status::success();
      RETURN_IF_ERROR(look_at_processes());
      RETURN_IF_ERROR(hear());
      if (now() >= next_state_) say_state();
    }
    ranks_.wait(kExitTime);
    return Status::success();
  }

 private:
  // Connects to the leading process, and again when that was lost. Ranks that end meanwhile wait for its order.
  Status meet() {
    const TimePoint deadline = now() + std::chrono::seconds(parallel_.rank_start_timeout_seconds);
    leader_.reset();
    if (!std::exchange(order_.serving, false)) drop_all();
    log_info("this host looks for the leading one", {{"leader", parallel_.address}, {"port", parallel_.rpc_port}});
    for (;;) {
      auto entered = enter(parallel_.address, parallel_.rpc_port, parallel_.secret, hello_, std::min(deadline, now() + kTryFor));
      if (entered.ok()) {
        leader_ = std::move(*entered);
        say_state();
        while (ranks_.ended()) {}
        return Status::success();
      }
      if (entered.error().code != ErrorCode::kUnavailable || now() >= deadline) return entered.error().within(name_of_host(host_.ranks));
      if (signalled()) {
        ending_ = true;
        return Status::success();
      }
    }
  }

  void drop_all() {
    for (const int rank : ranks_.ranks()) ranks_.drop(rank);
  }

  bool signalled() const {
    const timespec none{};
    return sigtimedwait(&signals_, nullptr, &none) > 0;
  }

  Status hear() {
    const auto frame = leader_->receive(now() + kLook);
    if (frame.ok()) return obey(*frame);
    if (frame.error().code == ErrorCode::kDeadlineExceeded) return Status::success();
    log_warning("the leading host is gone", {{"reason", frame.error().message}});
    return meet();
  }

  Status obey(const fabric::Frame& frame) {
    if (frame.type == static_cast<std::uint8_t>(HostFrame::kEnd)) ending_ = true;
    if (frame.type != static_cast<std::uint8_t>(HostFrame::kRun)) return Status::success();
    if (!engine::from_bytes(frame.payload, order_)) return internal_error("the leading host sent an order that cannot be read; run one version everywhere");
    for (const int rank : ranks_.ranks()) {
      if (std::find(order_.ranks.begin(), order_.ranks.end(), rank) == order_.ranks.end()) ranks_.drop(rank);
    }
    ranks_.resize(order_.size, std::max(1, static_cast<int>(order_.ranks.size())));
    for (const int rank : order_.ranks) {
      if (!ranks_.runs(rank)) RETURN_IF_ERROR(ranks_.start(rank));
    }
    log_info("ranks of this host", {{"ranks", order_.ranks.size()}, {"of", order_.size}});
    return Status::success();
  }

  Status look_at_processes() {
    ranks_.look();
    while (const auto ended = ranks_.ended()) {
      if (ended->how == RankProcesses::Ended::How::kFailed && !order_.serving) return internal_error(ended->text + "; see its message above");
      (void)leader_->send(static_cast<std::uint8_t>(HostFrame::kEnded), engine::to_bytes(EndedRank{ended->rank, ended->text}));
      if (ended->how == RankProcesses::Ended::How::kWell) log_info("a rank has ended", {{"which", ended->text}});
      else ranks_.restart(*ended);
    }
    return Status::success();
  }

  void say_state() {
    next_state_ = now() + kStateEvery;
    (void)leader_->send(static_cast<std::uint8_t>(HostFrame::kState), engine::to_bytes(HostState{ranks_.largest_bytes(), engine::available_memory()}));
  }

  const ParallelSettings parallel_;
  const sigset_t& signals_;
  const HostHello host_;
  const std::string hello_;
  LocalRanks ranks_;
  std::unique_ptr<fabric::Connection> leader_;
  HostOrder order_;
  TimePoint next_state_{};
  bool ending_ = false;
};

}  // namespace

Status run_headless(const ServeSettings& settings, Words words, const sigset_t& signals) { return Headless(settings, words, signals).run(); }

}  // namespace braid::app
